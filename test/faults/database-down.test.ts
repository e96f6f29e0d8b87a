import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { getTenant, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { type RunningPostgres, startPostgres } from '../servers/postgres.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'
import { add, allIdle, call, db, gate, namesIn, shop, until } from './fixture.ts'

const DATABASE = 'TENANCY_ERR_DATABASE_UNAVAILABLE'
const STORE = 'TENANCY_ERR_STORE_UNAVAILABLE'

describeWith(['postgres18'], 'a database that goes down while we serve', () => {
  let server: RunningPostgres
  let database: TestDatabase
  const shopHere = (options?: TenancyOptions, routes?: (app: FastifyInstance) => void) =>
    shop(database, options, routes)

  beforeAll(async () => {
    server = await startPostgres({ version: 18 })
    database = await baselineDatabase(server.url)
  })
  beforeEach(async () => {
    if (server.pid() === undefined) await server.restart()
  })
  afterAll(() => server?.stop())

  it('costs 503 with Retry-After, and service resumes by itself', async () => {
    const app = await shopHere({}, (app) => {
      app.get('/who', async () => getTenant().identifier)
      app.get('/secret', async () => db().execute(sql`select ${'p4ram'}::text as "s3cret_name"`))
      app.post('/both', async () => {
        await db().transaction(async (inner) => {
          await add('one', inner)
          await add('two', inner)
        })
      })
      app.post('/request', { config: { tenancy: { transaction: true } } }, async () => add('three'))
    })
    await app.tenancy.ensure({ identifier: 'cold-one' })
    await call(app, '/secret')
    await server.kill()

    expect((await call(app, '/who')).body).toBe('acme')
    for (const [url, method] of [
      ['/secret', 'GET'],
      ['/both', 'POST'],
      ['/request', 'POST'],
    ] as const) {
      const answer = await call(app, url, method)
      expect(answer.statusCode, url).toBe(503)
      expect(Number(answer.headers['retry-after']), url).toBeGreaterThan(0)
      expect(answer.json(), url).toMatchObject({ code: DATABASE, message: 'The database cannot be reached.' })
      expect(answer.body).not.toMatch(/s3cret_name|p4ram|insert|select|items/i)
    }
    expect(await app.tenancy.health()).toMatchObject({
      ok: false,
      checks: { database: { ok: false, code: DATABASE }, store: { ok: false, code: STORE } },
    })
    expect(app.tenancy.getMetrics().pools['serving']).toMatchObject({ waiting: 0 })

    await server.restart()
    for (const [url, method] of [
      ['/names', 'GET'],
      ['/both', 'POST'],
      ['/request', 'POST'],
    ] as const) {
      expect((await call(app, url, method)).statusCode, url).toBe(200)
    }
    expect(await namesIn(app)).toEqual(['one', 'two', 'three'])
    expect((await app.tenancy.health()).ok).toBe(true)
    await allIdle(app)
  })

  it('costs tenants that are not in memory 503 of the store, known or not, until it is back', async () => {
    const app = await shopHere()
    await app.tenancy.ensure({ identifier: 'cold-two' })
    const other = await shopHere()
    await server.kill()
    for (const identifier of ['cold-two', 'nobody-at-all']) {
      const answer = await other.inject({ url: '/names', headers: as(identifier) })
      expect(answer.statusCode).toBe(503)
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
      expect(answer.json()).toMatchObject({ code: STORE, status: 503 })
      expect(answer.body).not.toContain(identifier)
    }
    await expect(other.tenancy.run('cold-two', () => 'ran')).rejects.toMatchObject({ code: STORE })
    for (const verb of ['register', 'ensure'] as const) {
      await expect(other.tenancy[verb]({ identifier: 'third-one' })).rejects.toMatchObject({ code: STORE })
    }
    await expect(other.tenancy.suspend('cold-two')).rejects.toMatchObject({ code: STORE })

    await server.restart()
    expect((await other.inject({ url: '/names', headers: as('cold-two') })).statusCode).toBe(200)
    expect((await other.inject({ url: '/names', headers: as('nobody-at-all') })).statusCode).toBe(400)
    // A verb answers 503 while the restart is heard of, which may have lost changes.
    const third = () => app.tenancy.ensure({ identifier: 'third-one' }).catch(() => undefined)
    await until(async () => (await third())?.status === 'active')
  })

  it('between two statements of a transaction ends it, not the process, and keeps nothing of it', async () => {
    let [reached, go] = [gate(), gate()]
    const pause = async () => {
      reached.open()
      await go.passed
    }
    const app = await shopHere({}, (app) => {
      app.post('/both', () =>
        db().transaction(async (inner) => {
          await add('one', inner)
          await pause()
          await add('two', inner)
        }),
      )
      app.post('/request', { config: { tenancy: { transaction: true } } }, async () => {
        await add('three')
        await pause()
        await add('four')
      })
      app.post('/last', { config: { tenancy: { transaction: true } } }, async () => {
        await add('five')
        await pause()
      })
    })
    for (const url of ['/both', '/request', '/last']) {
      ;[reached, go] = [gate(), gate()]
      const answer = call(app, url, 'POST')
      await reached.passed
      await server.kill()
      go.open()
      expect((await answer).statusCode, url).toBe(503)
      expect((await answer).json(), url).toMatchObject({ code: DATABASE })
      await server.restart()
      expect(await namesIn(app), url).toEqual([])
      await allIdle(app)
    }
  })

  it('under a crowd of requests fails each of them once, and serves the next crowd', async () => {
    const app = await shopHere({ databasePoolSize: 3 })
    const crowd = () => Promise.all(Array.from({ length: 40 }, () => call(app, '/names')))
    expect((await crowd()).every(({ statusCode }) => statusCode === 200)).toBe(true)
    const during = crowd()
    await server.kill()
    expect((await during).every(({ statusCode }) => statusCode === 200 || statusCode === 503)).toBe(true)
    expect((await crowd()).every(({ statusCode }) => statusCode === 503)).toBe(true)
    await server.restart()
    expect((await crowd()).every(({ statusCode }) => statusCode === 200)).toBe(true)
    await allIdle(app)
  })

  it('and is starting up or shutting down is down too', async () => {
    const app = await shopHere()
    await call(app, '/names')
    const restarted = server.restart()
    const seen = new Set<number>()
    let settled = false
    void restarted.finally(() => (settled = true))
    await until(async () => {
      seen.add((await call(app, '/names')).statusCode)
      return settled
    })
    await restarted
    expect((await call(app, '/names')).statusCode).toBe(200)
    expect([...seen].filter((status) => status !== 200 && status !== 503)).toEqual([])
  })
})
