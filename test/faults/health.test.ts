import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { freePort } from '../servers/process.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'
import { call, gate, shop, db, until } from './fixture.ts'

describeWith(['postgres18'], 'health and metrics', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const down = (code: string) => ({ ok: false, code })
  const UNAVAILABLE = 'TENANCY_ERR_DATABASE_UNAVAILABLE'

  const proxies = async () => {
    const [serving, admin] = await Promise.all([1, 2].map(() => startProxy({ target: postgres18.port })))
    if (serving === undefined || admin === undefined) throw new Error('no proxies')
    onTestFinished(async () => void (await Promise.all([serving.stop(), admin.stop()])))
    return { serving, admin }
  }

  it('before the start: no pools, and asking for health starts', async () => {
    const app = await tenantApp(database)
    onTestFinished(() => app.close())
    expect(app.tenancy.getMetrics()).toMatchObject({
      pools: {},
      databases: 0,
      cache: { size: 0, hits: 0, misses: 0, hitRate: 0 },
    })
    expect(await app.tenancy.health()).toEqual({
      ok: true,
      degraded: false,
      checks: { database: { ok: true }, store: { ok: true }, servers: {} },
    })
    expect(app.tenancy.getMetrics().pools).toHaveProperty('serving')
  })

  it('after a failed start: not ok, and still no pools', async () => {
    const app = await tenantApp(database, { databaseUrl: withPort(database.appUrl, await freePort()) })
    onTestFinished(() => app.close())
    await expect(app.ready()).rejects.toMatchObject({ code: UNAVAILABLE })
    const checks = { database: down(UNAVAILABLE), store: down(UNAVAILABLE), servers: {} }
    expect(await app.tenancy.health()).toEqual({ ok: false, degraded: false, checks })
    expect(app.tenancy.getMetrics()).toMatchObject({ pools: {}, databases: 0 })
  })

  it('tell the serving connection and the registry apart', async () => {
    const { serving, admin } = await proxies()
    const app = await shop(database, {
      databaseUrl: withPort(database.appUrl, serving.port),
      adminDatabaseUrl: withPort(database.adminUrl, admin.port),
    })
    const off = async (proxy: typeof serving) => {
      proxy.refuse(true)
      proxy.sever()
      await until(() => proxy.connections === 0)
    }
    await off(serving)
    expect(await app.tenancy.health()).toEqual({
      ok: false,
      degraded: false,
      checks: { database: down(UNAVAILABLE), store: { ok: true }, servers: {} },
    })
    serving.refuse(false)
    // News of our own write has come back by now, and ended what was held.
    await until(async () => (await call(app, '/names')).statusCode === 200)
    await off(admin)
    expect(await app.tenancy.health()).toEqual({
      ok: false,
      degraded: false,
      checks: { database: { ok: true }, store: down('TENANCY_ERR_STORE_UNAVAILABLE'), servers: {} },
    })
    // The registry is not needed for tenants in memory.
    expect((await call(app, '/names')).statusCode).toBe(200)
    admin.refuse(false)
    expect((await app.tenancy.health()).ok).toBe(true)
  })

  it('answer in time when packets vanish, asked each second too, and again when the server is there', async () => {
    const { serving, admin } = await proxies()
    const app = await shop(database, {
      databaseUrl: withPort(database.appUrl, serving.port),
      adminDatabaseUrl: withPort(database.adminUrl, admin.port),
      databasePoolSize: 5,
      changeChannel: 'poll',
    })
    const { length: probes } = await Promise.all(Array.from({ length: 5 }, () => call(app, '/names')))
    for (const proxy of [serving, admin]) proxy.freeze()
    const since = Date.now()
    const asked: ReturnType<typeof app.tenancy.health>[] = []
    for (let n = 0; n < probes; n++) {
      asked.push(app.tenancy.health())
      await sleep(300)
    }
    const pool = app.tenancy.getMetrics().pools['serving']
    expect(await asked[0]).toEqual({
      ok: false,
      degraded: false,
      checks: { database: down(UNAVAILABLE), store: down('TENANCY_ERR_STORE_UNAVAILABLE'), servers: {} },
    })
    expect(Date.now() - since).toBeLessThan(3500)
    expect(pool).toMatchObject({ total: 5, idle: 4, waiting: 0 })
    await Promise.all(asked)
    // New connections are served. Those that hang are cut; what would be told only by TCP is found out here.
    for (const proxy of [serving, admin]) proxy.sever()
    await until(async () => (await app.tenancy.health()).ok)
  }, 30_000)

  it('give up the connection that does not answer', async () => {
    const proxy = await startProxy({ target: postgres18.port })
    onTestFinished(() => proxy.stop())
    const app = await shop(database, { databaseUrl: withPort(database.appUrl, proxy.port), databasePoolSize: 1 })
    proxy.freeze()
    expect((await app.tenancy.health()).checks.database).toEqual(down(UNAVAILABLE))
    // The frozen one is cut, and the next is served.
    await until(async () => (await app.tenancy.health()).ok)
    expect((await call(app, '/names')).statusCode).toBe(200)
  }, 30_000)

  it('count what is held and what was asked', async () => {
    const hold = gate()
    const app = await shop(database, { databasePoolSize: 1 }, (made) => {
      made.get('/hold', () => db().transaction(() => hold.passed))
    })
    const before = app.tenancy.getMetrics()
    expect(before.databases).toBe(1)
    await call(app, '/names')
    await call(app, '/names')
    await app.inject({ url: '/names', headers: as('nobody-at-all') })
    await app.inject({ url: '/names', headers: as('nobody-at-all') })
    const { cache } = app.tenancy.getMetrics()
    expect(cache.hits).toBe(before.cache.hits + 2)
    expect(cache.negativeHits).toBe(before.cache.negativeHits + 1)
    expect(cache.misses).toBeGreaterThan(before.cache.misses)
    const answered = cache.hits + cache.negativeHits
    expect(cache.hitRate).toBe(answered / (answered + cache.misses))

    const [first, second] = [call(app, '/hold'), call(app, '/hold')]
    await until(() => app.tenancy.getMetrics().pools['serving']?.waiting === 1)
    expect(app.tenancy.getMetrics().pools['serving']).toEqual({ total: 1, idle: 0, waiting: 1 })
    hold.open()
    await Promise.all([first, second])
    expect(app.tenancy.getMetrics().pools['serving']).toEqual({ total: 1, idle: 1, waiting: 0 })
  })
})
