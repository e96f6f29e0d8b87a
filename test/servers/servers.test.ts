import { execFile } from 'node:child_process'
import { connect } from 'node:net'
import { promisify } from 'node:util'
import { Client, type ClientConfig } from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { createTestDatabase, type TestDatabase, withPort } from './database.ts'
import { startMariadb } from './mariadb.ts'
import { startPgBouncer } from './pgbouncer.ts'
import { startPostgres } from './postgres.ts'
import { type Machine, type Program, provision, waivedServers } from './provision.ts'
import { type Proxy, startProxy } from './proxy.ts'
import { startRedis } from './redis.ts'
import { describeWith } from './suite.ts'

describeWith(['postgres15', 'postgres18'], 'PostgreSQL', ({ postgres15, postgres18 }) => {
  test.each([postgres15, postgres18])('answers with its version ($version)', async ({ url, version }) => {
    const client = await connected(url)

    expect(await value(client, 'SHOW server_version')).toMatch(new RegExp(`^${version}\\.`))
    expect(Number(await value(client, 'SHOW max_connections'))).toBeGreaterThanOrEqual(300)
  })

  test.each([15, 18] as const)('comes back after a crash with its data, on the same port (%i)', async (version) => {
    const server = await startPostgres({ version })
    onTestFinished(() => server.stop())
    const client = await connected(server.url)
    await client.query('CREATE TABLE kept AS SELECT 42 AS answer')
    const lost = new Promise((done) => client.once('end', done))

    await server.kill()
    await lost
    expect(server.pid()).toBeUndefined()
    await expect(connected(server.url)).rejects.toMatchObject({ code: 'ECONNREFUSED' })

    await server.restart()
    expect(await value(await connected(server.url), 'SELECT answer FROM kept')).toBe(42)
    expect(server.log()).toContain('automatic recovery in progress')
  })

  test.each([postgres15, postgres18])('lends databases with two plain roles ($version)', async ({ url }) => {
    const database = await createTestDatabase(url)
    const { ownerRole, appRole } = database
    const owner = await connected(database.adminUrl)
    await owner.query('CREATE SCHEMA mine')
    const app = await connected(database.appUrl)
    await expect(app.query('CREATE SCHEMA theirs')).rejects.toMatchObject({ code: '42501' })

    const superuser = await connected(url)
    const attributes = `SELECT rolname, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = ANY($1) ORDER BY 1`
    const powerless = { rolsuper: false, rolbypassrls: false, rolcreatedb: false, rolcreaterole: false }
    expect((await superuser.query(attributes, [[ownerRole, appRole]])).rows).toEqual([
      { rolname: appRole, ...powerless },
      { rolname: ownerRole, ...powerless },
    ])

    await database.drop()
    await database.drop()
    expect((await superuser.query(attributes, [[ownerRole, appRole]])).rows).toEqual([])
    const databases = 'SELECT count(*)::int FROM pg_database WHERE datname = $1'
    expect(await value(superuser, databases, [database.database])).toBe(0)
  })
})

describeWith(['postgres15', 'postgres18', 'pgbouncer15', 'pgbouncer18'], 'PgBouncer', (servers) => {
  describe.each([
    { postgres: servers.postgres15, pgbouncer: servers.pgbouncer15 },
    { postgres: servers.postgres18, pgbouncer: servers.pgbouncer18 },
  ])('in front of PostgreSQL $postgres.version', ({ postgres, pgbouncer }) => {
    let database: TestDatabase
    beforeAll(async () => {
      database = await createTestDatabase(postgres.url)
    })
    afterAll(() => database.drop())

    test('lets roles in that it never heard of, and keeps them', async () => {
      const who = 'SELECT current_user, session_user, current_database()'
      for (const [url, role] of [
        [database.appUrl, database.appRole],
        [database.adminUrl, database.ownerRole],
      ] as const) {
        const client = await connected(withPort(url, pgbouncer.port))
        expect((await client.query(who)).rows).toEqual([
          { current_user: role, session_user: role, current_database: database.database },
        ])
      }
    })

    test('turns away who is no role', async () => {
      const stranger = new URL(withPort(database.appUrl, pgbouncer.port))
      stranger.username = 'nobody_at_all'
      await expect(connected(stranger.href)).rejects.toThrow()
    })

    test('gives one backend to two clients, with what the first left in the session', async () => {
      const { port, stop } = await startPgBouncer({ postgresPort: postgres.port, poolSize: 1 })
      onTestFinished(stop)
      const first = await connected(withPort(database.appUrl, port))
      const second = await connected(withPort(database.appUrl, port))

      const pid = await value(first, 'SELECT pg_backend_pid()')
      expect(await value(second, 'SELECT pg_backend_pid()')).toBe(pid)
      await first.query(`SET app.tenant = 'first'`)
      expect(await value(second, `SELECT current_setting('app.tenant', true)`)).toBe('first')

      await first.query('BEGIN')
      let served = false
      const waiting = second.query('SELECT 1').then(() => (served = true))
      await first.query('SELECT pg_sleep(0.05)')
      expect(served).toBe(false)
      await first.query('COMMIT')
      await waiting
    })

    test('serves again after it was killed', async () => {
      const bouncer = await startPgBouncer({ postgresPort: postgres.port, poolSize: 1 })
      onTestFinished(() => bouncer.stop())
      await bouncer.kill()
      await expect(connected(bouncer.url)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
      await bouncer.restart()
      expect(await value(await connected(bouncer.url), 'SELECT 1')).toBe(1)
      const admin = await connected(bouncer.adminUrl)
      expect((await admin.query('SHOW CONFIG')).rows).toContainEqual(
        expect.objectContaining({ key: 'pool_mode', value: 'transaction' }),
      )
    })
  })
})

describeWith(['postgres18'], 'proxy', ({ postgres18 }) => {
  test('counts one turn for one statement, four for four awaited ones', async () => {
    const { proxy, client } = await proxied(postgres18.port)

    await client.query('SELECT 1')
    expect(proxy.turns).toBe(1)

    proxy.resetCounters()
    await client.query('BEGIN')
    await client.query('SELECT set_config($1, $2, true)', ['app.tenant', 'a'])
    await client.query('SELECT current_setting($1)', ['app.tenant'])
    await client.query('COMMIT')
    expect(proxy.turns).toBe(4)
    expect(proxy).toMatchObject({ connections: 1, accepted: 0 })
  })

  test('counts one turn for a pipeline, and delays it once', async () => {
    const { proxy, client } = await proxied(postgres18.port, { delayMs: 100, pipeline: true })
    const start = performance.now()

    await Promise.all(['BEGIN', 'SELECT 1', 'SELECT 2', 'COMMIT'].map((statement) => client.query(statement)))

    expect(proxy.turns).toBe(1)
    expect(performance.now() - start).toBeGreaterThan(95)
    expect(performance.now() - start).toBeLessThan(350)
  })

  test('carries large answers unharmed', async () => {
    const { client } = await proxied(postgres18.port, { delayMs: 1 })
    const text = await value(client, `SELECT repeat('0123456789', 500000)`)
    expect(text).toBe('0123456789'.repeat(500_000))
  })

  test('cuts open connections and serves new ones', async () => {
    const { proxy, client, url } = await proxied(postgres18.port)
    const lost = new Promise((done) => client.once('end', done))
    proxy.sever()
    await lost
    await expect(client.query('SELECT 1')).rejects.toThrow()
    expect(await value(await connected(url), 'SELECT 1')).toBe(1)
  })

  test('cuts the client when the server is gone', async () => {
    const server = await startPostgres({ version: 18 })
    onTestFinished(() => server.stop())
    const { client, url } = await proxied(server.port)
    const lost = new Promise((done) => client.once('end', done))
    await server.kill()
    await lost
    await expect(connected(url)).rejects.toThrow()
  })

  test('refuses new connections only, and only while told so', async () => {
    const { proxy, client, url } = await proxied(postgres18.port)
    proxy.refuse(true)
    await expect(connected(url)).rejects.toThrow()
    expect(proxy).toMatchObject({ connections: 1, accepted: 1 })
    expect(await value(client, 'SELECT 1')).toBe(1)
    proxy.refuse(false)
    expect(await value(await connected(url), 'SELECT 1')).toBe(1)
  })

  async function proxied(target: number, { delayMs = 0, pipeline = false } = {}) {
    const proxy: Proxy = await startProxy({ target, delayMs })
    onTestFinished(() => proxy.stop())
    const url = withPort(postgres18.url, proxy.port)
    const client = await connected(url, { pipeline })
    proxy.resetCounters()
    return { proxy, client, url }
  }
})

describeWith(['mariadb'], 'MariaDB', ({ mariadb }) => {
  test('runs a statement as root', async () => {
    expect(await mariadbQuery(mariadb.port, 'SELECT CURRENT_USER()')).toBe('root@127.0.0.1')
  })

  test('comes back after a crash with its data, on the same port', async () => {
    const server = await startMariadb()
    onTestFinished(() => server.stop())
    await mariadbQuery(
      server.port,
      'CREATE DATABASE test; CREATE TABLE test.kept (answer INT); INSERT INTO test.kept VALUES (42)',
    )
    await server.kill()
    await expect(mariadbQuery(server.port, 'SELECT 1')).rejects.toThrow(/connect/)
    await server.restart()
    expect(await mariadbQuery(server.port, 'SELECT answer FROM test.kept')).toBe('42')
  })
})

describeWith(['redis'], 'Redis', ({ redis }) => {
  test('answers', async () => {
    expect(await redisCommand(redis.port, 'PING')).toBe('+PONG')
  })

  test('comes back empty after a crash, on the same port', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    expect(await redisCommand(server.port, 'SET key value')).toBe('+OK')
    await server.kill()
    await expect(redisCommand(server.port, 'PING')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await server.restart()
    expect(await redisCommand(server.port, 'EXISTS key')).toBe(':0')
  })
})

describe('provisioning', () => {
  const impossible: Program = {
    name: 'Impossible',
    waiver: 'redis',
    binary: 'impossible-server',
    folders: ['/opt/impossible'],
    inPath: true,
    aptPackage: 'impossible-package',
  }
  const bare: Machine = { path: '/usr/bin', root: false, apt: false, docker: false }
  const apt = 'apt-get install -y --no-install-recommends impossible-package'

  test.each<[string, Machine, string]>([
    ['nothing at all', bare, `sudo apt-get update && sudo ${apt}`],
    ['apt but no root', { ...bare, apt: true, docker: true }, `sudo apt-get update && sudo ${apt}`],
    ['Docker but no apt', { ...bare, docker: true }, 'docker run --rm -v "$PWD":/repo -w /repo node:20-bookworm'],
  ])('a machine with %s is told the command that helps', async (_title, machine, command) => {
    const failure = await provision(impossible, machine).catch((error: Error) => error.message)
    expect(failure).toContain('Impossible is missing: no executable `impossible-server` in /opt/impossible, PATH')
    expect(failure).toContain(command)
    expect(failure).toContain('TENANCY_TEST_WAIVE=redis')
  })

  test('waivers are named, known and refused in CI', () => {
    expect([...waivedServers({})]).toEqual([])
    expect([...waivedServers({ TENANCY_TEST_WAIVE: 'mariadb, redis' })]).toEqual(['mariadb', 'redis'])
    expect(() => waivedServers({ TENANCY_TEST_WAIVE: 'mongodb' })).toThrow('names unknown servers: mongodb')
    expect(() => waivedServers({ TENANCY_TEST_WAIVE: 'redis', CI: 'true' })).toThrow('refused in CI')
    expect([...waivedServers({ CI: 'true' })]).toEqual([])
  })
})

async function connected(url: string, options: ClientConfig = {}): Promise<Client> {
  const client = new Client({ ...options, connectionString: url })
  // Connections are cut on purpose here; whoever cares waits for 'end'.
  client.on('error', () => {})
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

async function value(client: Client, statement: string, parameters: unknown[] = []): Promise<unknown> {
  const { rows } = await client.query<unknown[]>({ text: statement, values: parameters, rowMode: 'array' })
  return rows[0]?.[0]
}

async function mariadbQuery(port: number, statement: string): Promise<string> {
  const flags = ['--no-defaults', '-h', '127.0.0.1', '-P', String(port), '-u', 'root', '-N', '-B', '-e', statement]
  return (await promisify(execFile)('mariadb', flags)).stdout.trim()
}

async function redisCommand(port: number, command: string): Promise<string> {
  return new Promise((done, fail) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`${command}\r\n`))
    socket.once('error', fail)
    socket.once('data', (answer) => {
      socket.destroy()
      done(answer.toString().trim())
    })
  })
}
