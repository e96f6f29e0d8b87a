import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { add, allIdle, call, db, running, shop } from './fixture.ts'

describeWith(['postgres18'], 'a pool without a free connection', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const tiny = (databaseMaxOverflow = 0) =>
    shop(database, { databasePoolSize: 1, databaseMaxOverflow, databasePoolTimeout: 1 }, (app: FastifyInstance) => {
      app.get('/slow', () => db().execute(sql`select pg_sleep(2.5)`))
      app.post('/transaction', () => db().transaction((inner) => add('one', inner)))
      app.post('/request', { config: { tenancy: { transaction: true } } }, async () => add('two'))
      app.get('/idle', { config: { tenancy: { transaction: true } } }, async () => 'no database')
    })

  it('costs those who wait 503 with Retry-After when their time is over, then serves them', async () => {
    const app = await tiny()
    const slow = call(app, '/slow')
    await running(database, 'pg_sleep(2.5)')
    const start = Date.now()
    const waiting = Promise.all([call(app, '/names'), call(app, '/transaction', 'POST'), call(app, '/request', 'POST')])
    expect((await call(app, '/idle')).body).toBe('no database')
    expect(Date.now() - start).toBeLessThan(500)
    expect(app.tenancy.getMetrics().pools['serving']).toMatchObject({ total: 1, idle: 0, waiting: 3 })
    for (const answer of await waiting) {
      expect(answer.statusCode).toBe(503)
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
      expect(answer.json()).toMatchObject({
        code: 'TENANCY_ERR_POOL_TIMEOUT',
        message: 'No database connection became free within 1000 ms.',
      })
    }
    expect(Date.now() - start).toBeGreaterThan(900)
    expect((await slow).statusCode).toBe(200)
    expect((await call(app, '/transaction', 'POST')).statusCode).toBe(200)
    expect((await call(app, '/request', 'POST')).statusCode).toBe(200)
    expect((await call(app, '/names')).json()).toEqual([{ name: 'one' }, { name: 'two' }])
    await allIdle(app)
  })

  it('serves them in a rush when it may overflow', async () => {
    const app = await tiny(1)
    const slow = call(app, '/slow')
    await running(database, 'pg_sleep(2.5)')
    expect((await call(app, '/names')).statusCode).toBe(200)
    await slow
    await allIdle(app)
  })

  it('serves a crowd larger than itself in turn', async () => {
    const app = await tiny()
    const answers = await Promise.all(Array.from({ length: 100 }, () => call(app, '/names')))
    expect(answers.every(({ statusCode }) => statusCode === 200)).toBe(true)
    expect(app.tenancy.getMetrics().pools['serving']).toEqual({ total: 1, idle: 1, waiting: 0 })
  })

  it('is the state of health of the database', async () => {
    const app = await tiny()
    const slow = call(app, '/slow')
    await running(database, 'pg_sleep(2.5)')
    expect(await app.tenancy.health()).toMatchObject({
      ok: false,
      checks: { database: { ok: false, code: 'TENANCY_ERR_POOL_TIMEOUT' }, store: { ok: true } },
    })
    await slow
    expect((await app.tenancy.health()).ok).toBe(true)
  })
})
