import { readFile, rename, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { mysqlTable, serial } from 'drizzle-orm/mysql-core'
import Fastify from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import tenancy, { runWithoutTenant, type TenancyOptions } from '../../src/index.ts'
import { createTenancy } from '../../src/tenancy.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { type RunningPostgres, startPostgres } from '../servers/postgres.ts'
import { freePort } from '../servers/process.ts'
import { describeWith } from '../servers/suite.ts'
import { optionsFor, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { mysqlDatabase } from '../support/mysql.ts'
import { gate, itemsMigration, migrationsOf, until } from './fixture.ts'

const UNAVAILABLE = { code: 'TENANCY_ERR_DATABASE_UNAVAILABLE', statusCode: 503 }
const REFUSED_LOGIN =
  /^The database of `(databaseUrl|adminDatabaseUrl)` refused the login: is the password right, .*roles`\)\?$/
const silentLog = { debug: () => {}, warn: () => {}, error: () => {} }

describeWith(['postgres18'], 'a start without a database', () => {
  let server: RunningPostgres
  let database: TestDatabase

  beforeAll(async () => {
    server = await startPostgres({ version: 18 })
    database = await baselineDatabase(server.url)
  })
  afterAll(() => server?.stop())

  const unstarted = async (options: TenancyOptions) => {
    const app = await tenantApp(database, { databasePoolTimeout: 2, closeTimeoutSeconds: 5, ...options })
    onTestFinished(() => app.close())
    return app
  }
  const changed = (url: string, change: (url: URL) => void) => {
    const copy = new URL(url)
    change(copy)
    return copy.href
  }

  it('fails with a code when the port is closed, serving or admin, names the option alone, and closes', async () => {
    const port = await freePort()
    const closed = withPort(database.adminUrl, port)
    const cases: readonly (readonly [named: string, options: TenancyOptions])[] = [
      ['databaseUrl', { databaseUrl: withPort(database.appUrl, port) }],
      ['adminDatabaseUrl', { adminDatabaseUrl: closed }],
      ['databaseUrl', { databaseUrl: closed, adminDatabaseUrl: closed }],
    ]
    for (const [named, options] of cases) {
      const app = await unstarted(options)
      const message = `The database of \`${named}\` cannot be reached.`
      await expect(app.ready()).rejects.toMatchObject({ ...UNAVAILABLE, message, cause: expect.any(Error) as Error })
      await app.close()
    }
    expect(await clientBackends()).toBe(0)
  })

  it('fails when the two URLs lead to different databases, and names both', async () => {
    const other = await baselineDatabase(server.url)
    const app = await unstarted({ adminDatabaseUrl: other.adminUrl })
    const names = new RegExp(`${database.database}.*${other.database}`)
    await expect(app.ready()).rejects.toMatchObject({
      code: 'TENANCY_ERR_CONFIG_INVALID',
      message: expect.stringMatching(names),
    })
    await app.close()
    await other.drop()
  })

  it('fails with a code when the password is wrong, without telling it', async () => {
    const hba = join(server.folder, 'data', 'pg_hba.conf')
    const before = await readFile(hba, 'utf8')
    const reload = () => asSuperuser(database, (client) => client.query('select pg_reload_conf()'))
    await asSuperuser(database, (client) => client.query(`alter role ${database.appRole} password 'right'`))
    await writeFile(hba, `host all ${database.appRole} 127.0.0.1/32 scram-sha-256\n${before}`)
    await reload()
    onTestFinished(async () => {
      await writeFile(hba, before)
      await reload()
    })

    const withPassword = (password: string) => changed(database.appUrl, (url) => (url.password = password))
    const app = await unstarted({ databaseUrl: withPassword('wrong-secret') })
    const failure = await app.ready().then(
      () => undefined,
      (error: Error) => error,
    )
    expect(failure).toMatchObject({ ...UNAVAILABLE, message: expect.stringMatching(REFUSED_LOGIN) as string })
    expect(String(failure?.stack)).not.toContain('wrong-secret')
    await app.close()
    await (await unstarted({ databaseUrl: withPassword('right') })).ready()
  })

  it('fails with a code when the database is missing', async () => {
    for (const name of ['databaseUrl', 'adminDatabaseUrl'] as const) {
      const url = name === 'databaseUrl' ? database.appUrl : database.adminUrl
      const app = await unstarted({ [name]: changed(url, (copy) => (copy.pathname = '/nowhere')) })
      const message = expect.stringMatching(REFUSED_LOGIN) as string
      await expect(app.ready()).rejects.toMatchObject({ ...UNAVAILABLE, message })
      await app.close()
    }
  })

  it('fails with advice, and without its name, when a role is missing', async () => {
    for (const name of ['databaseUrl', 'adminDatabaseUrl'] as const) {
      const url = changed(database.appUrl, (copy) => (copy.username = 'nobody_made_me'))
      const app = await unstarted({ [name]: url })
      const failure: unknown = await Promise.resolve(app.ready()).catch((error: unknown) => error)
      const message = expect.stringMatching(new RegExp(`of \`${name}\` refused the login: .*fastify-tenancy roles`))
      expect(failure).toMatchObject({ ...UNAVAILABLE, message: message as string })
      expect((failure as Error).message).not.toContain('nobody_made_me')
      await app.close()
    }
  })

  it('fails with the code, before Fastify loses patience, when the server accepts and says nothing', async () => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => void sockets.push(socket.on('error', () => {})))
    await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done))
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      silent.close()
    })
    const { port } = silent.address() as { port: number }
    const app = await unstarted({ databaseUrl: withPort(database.appUrl, port), databasePoolTimeout: 30 })
    const start = Date.now()
    await expect(app.ready()).rejects.toMatchObject(UNAVAILABLE)
    expect(Date.now() - start).toBeLessThan(8000)
    await app.close()
  })

  it('can be tried again when the server came up', async () => {
    await server.kill()
    const app = await unstarted({})
    await expect(app.ready()).rejects.toMatchObject(UNAVAILABLE)
    expect(await app.tenancy.health()).toMatchObject({
      ok: false,
      checks: { database: { ok: false, code: UNAVAILABLE.code }, store: { ok: false, code: UNAVAILABLE.code } },
    })
    await expect(app.tenancy.ensure({ identifier: 'acme' })).rejects.toMatchObject(UNAVAILABLE)
    await server.restart()
    expect(await app.tenancy.ensure({ identifier: 'acme' })).toMatchObject({ identifier: 'acme', status: 'active' })
    expect(await app.tenancy.run('acme', (tenant) => tenant.identifier)).toBe('acme')
    expect((await app.tenancy.health()).ok).toBe(true)
  })

  it('[W40] that is tried again has missed no suspension since the one that failed', async () => {
    const folder = await migrationsOf(itemsMigration)
    const other = await unstarted({ migrations: folder, changeChannel: 'poll' })
    const { id } = await other.tenancy.ensure({ identifier: 'again' })
    const app = await unstarted({ migrations: `${folder}-later`, changeChannel: 'poll', l1CachePreload: 10 })
    await expect(app.tenancy.list()).rejects.toMatchObject({ code: 'TENANCY_ERR_MIGRATIONS_FOLDER' })
    await other.tenancy.suspend({ id })
    await rename(folder, `${folder}-later`)
    await app.ready()
    const served = () =>
      app.tenancy
        .run({ id }, () => true)
        .catch((error: unknown) => {
          expect(error).toMatchObject({ code: 'TENANCY_ERR_TENANT_SUSPENDED' })
          return false
        })
    await until(async () => !(await served()), 1)
  })

  it('that is under way at close leaves no connection behind', async () => {
    const instance = createTenancy(parseConfig(optionsFor(database), {}), silentLog)
    const [started] = await Promise.allSettled([instance.start(), instance.close()])
    expect(started).toMatchObject({ status: 'rejected', reason: { code: 'TENANCY_ERR_CLOSED' } })
    await expect(instance.ensure({ identifier: 'acme' })).rejects.toMatchObject({ code: 'TENANCY_ERR_CLOSED' })
    await expect(runWithoutTenant(() => 'served')).rejects.toMatchObject({ code: 'TENANCY_ERR_NOT_STARTED' })
    expect(await clientBackends()).toBe(0)
  })

  it('that waits for another process at close is given up within the deadline', async () => {
    const [locked, done] = [gate(), gate()]
    const holding = asSuperuser(database, async (client) => {
      await client.query(`select pg_advisory_lock(hashtextextended('fastify-tenancy:registry:tenancy', 0))`)
      locked.open()
      await done.passed
    })
    await locked.passed
    const instance = createTenancy(parseConfig(optionsFor(database, { closeTimeoutSeconds: 1 }), {}), silentLog)
    const started = expect(instance.start()).rejects.toMatchObject({ statusCode: 503 })
    await sleep(200)
    const begin = Date.now()
    await instance.close()
    expect(Date.now() - begin).toBeLessThan(3000)
    done.open()
    await holding
    await started
    await expect(runWithoutTenant(() => 'served')).rejects.toMatchObject({ code: 'TENANCY_ERR_NOT_STARTED' })
    expect(await clientBackends()).toBe(0)
  })

  it('that Fastify would not wait for fails with a word on what to do', async () => {
    const silent = createServer()
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const sockets = new Set<Socket>()
    silent.on('connection', (socket) => sockets.add(socket))
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      silent.close()
    })
    const { port } = silent.address() as AddressInfo
    const databaseUrl = withPort(database.appUrl, port)
    const app = await tenantApp(database, { databaseUrl, databasePoolTimeout: 20 }, { pluginTimeout: 800 })
    onTestFinished(() => app.close())
    await expect(Promise.resolve(app.ready())).rejects.toMatchObject({
      code: 'TENANCY_ERR_START_TIMEOUT',
      message: expect.stringContaining('within the 800 ms') as string,
    })
  })

  /** Connections of our two roles, after a moment for the server to notice what was closed. */
  async function clientBackends(): Promise<number> {
    let count = -1
    for (let attempt = 0; count !== 0 && attempt < 50; attempt++) {
      count = await asSuperuser(database, async (client) => {
        await client.query('select pg_sleep(0.02)')
        const { rows } = await client.query<{ count: number }>(
          'select count(*)::int from pg_stat_activity where usename in ($1, $2)',
          [database.appRole, database.ownerRole],
        )
        return rows[0]?.count ?? -1
      })
    }
    return count
  }
})

describeWith(['mariadb'], 'a start without MariaDB', ({ mariadb }) => {
  it('names the option that leads to the account that cannot get in', async () => {
    const database = await mysqlDatabase(mariadb.url)
    onTestFinished(() => database.drop())
    const { url: databaseUrl, adminUrl: adminDatabaseUrl } = database
    const wrong = (url: string) => Object.assign(new URL(url), { password: 'wrong-secret' }).href
    for (const [named, options] of [
      ['databaseUrl', { databaseUrl: wrong(databaseUrl), adminDatabaseUrl }],
      ['adminDatabaseUrl', { databaseUrl, adminDatabaseUrl: wrong(adminDatabaseUrl) }],
    ] as const) {
      const app = Fastify()
      onTestFinished(() => app.close())
      await app.register(tenancy, { ...options, schema: { items: mysqlTable('items', { id: serial() }) } })
      const failure = await Promise.resolve(app.ready()).catch((error: unknown) => error)
      const message = expect.stringContaining(`\`${named}\` refused the login`) as string
      expect(failure).toMatchObject({ ...UNAVAILABLE, message })
      expect((failure as Error).message).toMatch(REFUSED_LOGIN)
      expect(String((failure as Error).stack)).not.toContain('wrong-secret')
    }
  })
})
