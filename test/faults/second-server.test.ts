import { connect, createServer, type Socket } from 'node:net'
import { Writable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from 'vitest'
import { createMemoryTenantStore, type TenancyOptions } from '../../src/index.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { type RunningPostgres, startPostgres } from '../servers/postgres.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { add, db, itemsMigration, migrationsOf } from './fixture.ts'
import { sql } from 'drizzle-orm'

const UNAVAILABLE = 'TENANCY_ERR_DATABASE_UNAVAILABLE'
const here = { ok: true }
const down = { ok: false, code: UNAVAILABLE }

describeWith(['postgres15', 'postgres18'], 'a server beside main', ({ postgres15 }) => {
  let server: RunningPostgres
  let main: TestDatabase
  let eu: TestDatabase

  beforeAll(async () => {
    server = await startPostgres({ version: 18 })
    ;[main, eu] = await Promise.all([baselineDatabase(postgres15.url), baselineDatabase(server.url)])
  })
  beforeEach(async () => {
    if (server.pid() === undefined) await server.restart()
  })
  afterAll(async () => {
    await server?.stop()
    await main?.drop()
  })

  interface Made {
    readonly app: FastifyInstance
    /** What was logged at level warn and above. */
    readonly logged: string[]
  }

  /** An app with a tenant on each server in its registry, if `tenantStore` has them; not started. */
  const shopOnTwo = async (options: TenancyOptions = {}): Promise<Made> => {
    const logged: string[] = []
    const stream = new Writable({
      write(line: Buffer, _encoding, done) {
        logged.push((JSON.parse(String(line)) as { msg: string }).msg)
        done()
      },
    })
    const migrations = await migrationsOf(itemsMigration)
    const servers = { eu: { databaseUrl: eu.appUrl, adminDatabaseUrl: eu.adminUrl } }
    const app = await tenantApp(
      main,
      { migrations, servers, databasePoolTimeout: 5, closeTimeoutSeconds: 5, ...options },
      { logger: { level: 'warn', stream } },
    )
    onTestFinished(() => app.close())
    app.get('/names', async () =>
      (await db().execute(sql`select name from items order by id`)).rows.map(({ name }) => name),
    )
    app.post('/items/:name', { config: { tenancy: { transaction: true } } }, async (request) => {
      await add((request.params as { name: string }).name)
      return 'added'
    })
    return { app, logged }
  }
  const names = async (app: FastifyInstance, tenant: string) => app.inject({ url: '/names', headers: as(tenant) })
  const post = async (app: FastifyInstance, tenant: string) =>
    app.inject({ method: 'POST', url: `/items/of-${tenant}`, headers: as(tenant) })
  const register = async (app: FastifyInstance) => {
    for (const name of ['main', 'eu']) await app.tenancy.register({ identifier: `shop-${name}`, server: name })
    for (const name of ['main', 'eu']) expect((await post(app, `shop-${name}`)).body).toBe('added')
  }
  /** Main's tenant is served, the other one answered 503. */
  const expectOnlyMain = async (app: FastifyInstance) => {
    expect((await names(app, 'shop-main')).json()).toEqual(['of-shop-main'])
    for (const answer of [await names(app, 'shop-eu'), await post(app, 'shop-eu')]) {
      expect(answer.statusCode).toBe(503)
      expect(answer.json()).toMatchObject({ code: UNAVAILABLE })
      expect(answer.headers['retry-after']).toBe('5')
    }
    expect(await app.tenancy.health()).toEqual({
      ok: true,
      degraded: true,
      checks: { database: here, store: here, servers: { eu: down } },
    })
  }
  const expectBoth = async (app: FastifyInstance) => {
    for (const name of ['main', 'eu']) expect((await names(app, `shop-${name}`)).json()).toEqual([`of-shop-${name}`])
    expect(await app.tenancy.health()).toMatchObject({ ok: true, degraded: false, checks: { servers: { eu: here } } })
  }
  const euBackends = () =>
    asSuperuser(eu, async (client) => {
      const text = 'select from pg_stat_activity where usename in ($1, $2)'
      return (await client.query(text, [eu.appRole, eu.ownerRole])).rowCount
    })

  it('that is killed costs its own tenants 503 and nobody else anything, and serves again by itself', async () => {
    const { app } = await shopOnTwo({ tenantStore: createMemoryTenantStore() })
    await register(app)
    await expectBoth(app)
    await server.kill()
    await expectOnlyMain(app)
    const refused = app.tenancy.register({ identifier: 'newcomer', server: 'eu' })
    await expect(refused).rejects.toMatchObject({ code: UNAVAILABLE })
    expect(await app.tenancy.get('newcomer')).toBeUndefined()
    await app.tenancy.register({ identifier: 'newcomer', server: 'main' })
    await server.restart()
    await expectBoth(app)
  })

  it('that is down at the start is told, its tenants get 503, and it is served as soon as it answers', async () => {
    const tenantStore = createMemoryTenantStore()
    await register((await shopOnTwo({ tenantStore })).app)
    await server.kill()

    const { app, logged } = await shopOnTwo({ tenantStore })
    await app.ready()
    expect(logged).toContain(
      `Server "eu": It cannot be opened (${UNAVAILABLE}, ECONNREFUSED), and its tenants are answered 503 until it can: The database of \`adminDatabaseUrl\` cannot be reached.`,
    )
    await expectOnlyMain(app)
    expect(Object.keys(app.tenancy.getMetrics().pools)).toEqual(['serving', 'admin', 'registry', 'news'])
    for (const verb of ['register', 'ensure'] as const) {
      await expect(app.tenancy[verb]({ identifier: 'newcomer', server: 'eu' })).rejects.toMatchObject({
        code: UNAVAILABLE,
      })
    }
    expect(await app.tenancy.get('newcomer')).toBeUndefined()
    await app.tenancy.suspend('shop-eu')
    await app.tenancy.activate('shop-eu')

    await server.restart()
    await expect.poll(async () => (await names(app, 'shop-eu')).statusCode, { timeout: 20_000 }).toBe(200)
    await expectBoth(app)
    expect(logged.filter((line) => line.startsWith('Server "eu"'))).toEqual([
      expect.stringContaining('cannot be opened') as string,
      'Server "eu": It answers, and its tenants are served.',
    ])
    expect(Object.keys(app.tenancy.getMetrics().pools)).toEqual([
      'serving',
      'admin',
      'registry',
      'news',
      'eu.serving',
      'eu.admin',
      'eu.registry',
      'eu.news',
    ])
    await app.close()
    await expect.poll(euBackends).toBe(0)
  })

  it('that accepts and says nothing does not keep the start until Fastify loses patience', async () => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => void sockets.push(socket.on('error', () => {})))
    await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done))
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      silent.close()
    })
    const { port } = silent.address() as { port: number }
    const { app } = await shopOnTwo({
      servers: { eu: { databaseUrl: withPort(eu.appUrl, port) } },
      databasePoolTimeout: 30,
    })
    await app.ready()
    expect(await app.tenancy.health()).toMatchObject({ ok: true, degraded: true, checks: { servers: { eu: down } } })
    const start = Date.now()
    await app.close()
    expect(Date.now() - start).toBeLessThan(3000)
  })

  it('whose packets vanish does not hold up main, nor the answer about health', async () => {
    const pipe = await startPipe(server.port)
    onTestFinished(pipe.stop)
    const databaseUrl = withPort(eu.appUrl, pipe.port)
    const { app } = await shopOnTwo({
      tenantStore: createMemoryTenantStore(),
      servers: { eu: { databaseUrl, adminDatabaseUrl: eu.adminUrl } },
      closeTimeoutSeconds: 1,
      databasePoolSize: 2,
    })
    await register(app)
    pipe.hole()
    const waiting = Array.from({ length: 10 }, () => names(app, 'shop-eu'))
    const start = Date.now()
    expect(await app.tenancy.health()).toMatchObject({ ok: true, degraded: true, checks: { servers: { eu: down } } })
    const crowd = await Promise.all(Array.from({ length: 20 }, () => names(app, 'shop-main')))
    expect(crowd.every(({ statusCode }) => statusCode === 200)).toBe(true)
    expect(Date.now() - start).toBeLessThan(4500)
    await app.close()
    expect((await Promise.all(waiting)).map(({ statusCode }) => statusCode)).toEqual(
      Array.from({ length: 10 }, () => 503),
    )
  })

  it('is no help when main is down: the start fails, and opens nothing elsewhere', async () => {
    const { app } = await shopOnTwo({
      databaseUrl: eu.appUrl.replace(/:\d+\//, ':1/'),
      adminDatabaseUrl: eu.adminUrl.replace(/:\d+\//, ':1/'),
    })
    await expect(app.ready()).rejects.toMatchObject({ code: UNAVAILABLE })
    expect(await app.tenancy.health()).toMatchObject({
      ok: false,
      checks: { database: down, store: down, servers: { eu: down } },
    })
    expect(await euBackends()).toBe(0)
  })

  it('[W10] that policies would not bind stops the start, by name', async () => {
    const servers = { eu: { databaseUrl: eu.adminUrl } }
    const { app, logged } = await shopOnTwo({ servers, isolationStrategy: 'rls' })
    await expect(app.ready()).rejects.toMatchObject({ code: 'TENANCY_ERR_RLS_BYPASSED' })
    expect(logged).toContainEqual(expect.stringMatching(/^Server "eu": Row-level security does not bind/))
    await app.close()
    await expect.poll(euBackends).toBe(0)
  })

  it('[W10] that turns out so when it comes up later is never served, and says why', async () => {
    await server.kill()
    const servers = { eu: { databaseUrl: eu.adminUrl } }
    const { app, logged } = await shopOnTwo({
      servers,
      isolationStrategy: 'rls',
      tenantStore: createMemoryTenantStore(),
    })
    await app.ready()
    await server.restart()
    const bypassed = 'TENANCY_ERR_RLS_BYPASSED'
    await expect.poll(() => logged.some((line) => line.includes(bypassed)), { timeout: 20_000 }).toBe(true)
    expect(await app.tenancy.health()).toMatchObject({
      ok: true,
      degraded: true,
      checks: { servers: { eu: { ok: false, code: bypassed } } },
    })
    const refused = app.tenancy.register({ identifier: 'newcomer', server: 'eu' })
    await expect(refused).rejects.toMatchObject({ code: UNAVAILABLE, statusCode: 503 })
  })

  it('[W23] whose admin URL leads to another server stops the start, though the databases have the same name', async () => {
    const servers = { eu: { databaseUrl: server.url, adminDatabaseUrl: postgres15.url } }
    const { app, logged } = await shopOnTwo({ servers })
    await expect(app.ready()).rejects.toMatchObject({ code: 'TENANCY_ERR_CONFIG_INVALID' })
    expect(logged).toContainEqual(
      expect.stringMatching(
        /^Server "eu": .*leads to the database "postgres", adminDatabaseUrl to one of the same name/s,
      ),
    )
  })

  it('warns of a breach of the baseline rule by name', async () => {
    const { app, logged } = await shopOnTwo({ servers: { eu: { databaseUrl: eu.adminUrl } } })
    await app.ready()
    const breaches = logged.filter((line) => line.startsWith('Server "eu": Baseline rule: '))
    expect(breaches.length).toBeGreaterThan(0)
    const advised = breaches.map((line) =>
      line.endsWith('Run the SQL of `fastify-tenancy roles`, and serve with the role that it makes.'),
    )
    expect(advised).toEqual(breaches.map((_, at) => at === breaches.length - 1))
    expect(logged.filter((line) => line.startsWith('Baseline rule'))).toEqual([])
  })
})

/** Leads to a port until it becomes a hole: then it takes everything and says nothing. */
async function startPipe(target: number) {
  const sockets: Socket[] = []
  let open = true
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    for (const socket of [near, far]) sockets.push(socket.on('error', () => {}))
    near.on('data', (data) => open && far.write(data))
    far.on('data', (data) => open && near.write(data))
    near.on('close', () => far.destroy())
    far.on('close', () => near.destroy())
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as { port: number }).port,
    hole: () => void (open = false),
    stop() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}
