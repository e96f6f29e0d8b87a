import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { type Proxy, startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { add, allIdle, backends, call, db, gate, namesIn, openTransactions, running, shop, until } from './fixture.ts'

const LOST = { code: 'TENANCY_ERR_DATABASE_UNAVAILABLE' }

describeWith(['postgres18'], 'a connection that is cut', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  /** A shop whose serving connections run through a proxy; one connection, so that a dirty one would be met again. */
  const proxied = async (routes: (app: FastifyInstance) => void): Promise<{ app: FastifyInstance; proxy: Proxy }> => {
    const proxy = await startProxy({ target: postgres18.port })
    onTestFinished(() => proxy.stop())
    const app = await shop(
      database,
      { databaseUrl: withPort(database.appUrl, proxy.port), databasePoolSize: 1 },
      routes,
    )
    return { app, proxy }
  }

  it('in the middle of a statement costs 503, and the next request gets a new one', async () => {
    const { app, proxy } = await proxied((app) => {
      app.get('/slow', () => db().execute(sql`select pg_sleep(20)`))
      app.get('/slow-transaction', () => db().transaction((inner) => inner.execute(sql`select pg_sleep(20)`)))
      app.get('/slow-request', { config: { tenancy: { transaction: true } } }, () =>
        db().execute(sql`select pg_sleep(20)`),
      )
    })
    for (const url of ['/slow', '/slow-transaction', '/slow-request']) {
      const answer = call(app, url)
      const { pid } = await running(database, 'pg_sleep(20)')
      proxy.sever()
      expect((await answer).statusCode, url).toBe(503)
      expect((await answer).json(), url).toMatchObject(LOST)
      expect((await call(app, '/names')).statusCode, url).toBe(200)
      expect(proxy.connections, url).toBe(1)
      await allIdle(app)
      await asSuperuser(database, (client) => client.query('select pg_terminate_backend($1)', [pid]))
    }
  })

  it('between two statements of a transaction rolls it back, and its handler hears of it at the next statement', async () => {
    let cut = () => {}
    const { app, proxy } = await proxied((app) => {
      const work = async (on: Pick<ReturnType<typeof db>, 'execute'>) => {
        await add('one', on)
        cut()
        await new Promise((resolve) => setTimeout(resolve, 50))
        await add('two', on)
      }
      app.post('/both', () => db().transaction(work))
      app.post('/request', { config: { tenancy: { transaction: true } } }, () => work(db()))
      app.post('/nested', { config: { tenancy: { transaction: true } } }, () => db().transaction(work))
    })
    cut = () => proxy.sever()
    for (const url of ['/both', '/request', '/nested']) {
      const answer = await call(app, url, 'POST')
      expect(answer.statusCode, url).toBe(503)
      expect(answer.json(), url).toMatchObject(LOST)
      await until(async () => (await openTransactions(database)) === 0)
      expect(await namesIn(app), url).toEqual([])
      await allIdle(app)
    }
  })

  it('during COMMIT is never told as success', async () => {
    const { app, proxy } = await proxied((app) => {
      app.post('/both', () => db().transaction((inner) => add('slow one', inner)))
      app.post('/request', { config: { tenancy: { transaction: true } } }, async () => {
        await add('slow two')
        return 'done'
      })
    })
    const { placement } = (await app.tenancy.get('acme')) ?? { placement: { namespace: '' } }
    const schema = `"${placement.namespace}"`
    await asSuperuser(database, (client) =>
      client.query(`
        create function ${schema}.nap() returns trigger language plpgsql as 'begin perform pg_sleep(1); return null; end';
        create constraint trigger nap after insert on ${schema}.items deferrable initially deferred
          for each row when (new.name like 'slow%') execute function ${schema}.nap()`),
    )
    onTestFinished(() =>
      asSuperuser(database, async (client) => void (await client.query(`drop function ${schema}.nap() cascade`))),
    )
    for (const url of ['/both', '/request']) {
      const answer = call(app, url, 'POST')
      await running(database, 'commit')
      proxy.sever()
      expect((await answer).statusCode, url).toBe(503)
      expect((await answer).json(), url).toMatchObject(LOST)
      expect((await call(app, '/names')).statusCode, url).toBe(200)
      await allIdle(app)
    }
    // The server had the COMMIT and nobody to tell: whoever gets a 503 must look before trying again.
    await until(async () => (await openTransactions(database)) === 0)
  })

  it('[W18] leaves the error of a handler what it was', async () => {
    let cut = () => {}
    const notFound = () => Object.assign(new Error('no such order'), { statusCode: 404 })
    const { app, proxy } = await proxied((app) => {
      const fail = async (on: Pick<ReturnType<typeof db>, 'execute'>) => {
        await add('one', on)
        cut()
        await new Promise((resolve) => setTimeout(resolve, 50))
        throw notFound()
      }
      app.post('/both', () => db().transaction(fail))
      app.post('/request', { config: { tenancy: { transaction: true } } }, () => fail(db()))
    })
    cut = () => proxy.sever()
    for (const url of ['/both', '/request']) {
      const answer = await call(app, url, 'POST')
      expect(answer.statusCode, url).toBe(404)
      expect(answer.json(), url).toMatchObject({ message: 'no such order' })
      await until(async () => (await openTransactions(database)) === 0)
      expect(await namesIn(app), url).toEqual([])
      await allIdle(app)
    }
  })

  it('while idle is replaced without anybody noticing', async () => {
    const { app, proxy } = await proxied(() => {})
    await call(app, '/names')
    for (let round = 0; round < 5; round++) {
      proxy.sever()
      await until(() => proxy.connections === 0)
      expect((await call(app, '/names')).statusCode).toBe(200)
    }
    for (const { pid } of await backends(database)) {
      await asSuperuser(database, (client) => client.query('select pg_terminate_backend($1)', [pid]))
    }
    await until(() => proxy.connections === 0)
    expect((await call(app, '/names')).statusCode).toBe(200)
    await allIdle(app)
  })

  it('that cannot be opened again is 503 until it can', async () => {
    const { app, proxy } = await proxied(() => {})
    proxy.refuse(true)
    proxy.sever()
    await until(() => proxy.connections === 0)
    const answers = await Promise.all(Array.from({ length: 5 }, () => call(app, '/names')))
    for (const answer of answers) {
      expect(answer.statusCode).toBe(503)
      expect(answer.json()).toMatchObject(LOST)
    }
    proxy.refuse(false)
    expect((await call(app, '/names')).statusCode).toBe(200)
    await allIdle(app)
  })

  it('by the server’s time limit for transactions is 503 like any other', async () => {
    const passed = gate()
    const { app, proxy } = await proxied((app) => {
      app.get('/idle', () =>
        db().transaction(async (inner) => {
          await inner.execute(sql`set local idle_in_transaction_session_timeout = '100ms'`)
          await passed.passed
          await inner.execute(sql`select 1`)
        }),
      )
      app.get('/long', () =>
        db().transaction(async (inner) => {
          await inner.execute(sql`set local transaction_timeout = '100ms'`)
          await inner.execute(sql`select pg_sleep(10)`)
        }),
      )
      app.get('/long-statement', () => db().execute(sql`select pg_sleep(10)`))
    })
    const limitTransactions = async () => {
      await asSuperuser(database, (client) =>
        client.query(`alter role ${database.appRole} set transaction_timeout = '300ms'`),
      )
      proxy.sever()
    }
    setTimeout(passed.open, 400)
    await call(app, '/names')
    const waiting = () => Promise.all(Array.from({ length: 3 }, () => call(app, '/names')))
    for (const url of ['/idle', '/long', '/long-statement']) {
      if (url === '/long-statement') await limitTransactions()
      const [answer, others] = await Promise.all([call(app, url), waiting()])
      expect(answer.json(), url).toMatchObject({ statusCode: 503, ...LOST })
      expect(
        others.map(({ statusCode }) => statusCode),
        url,
      ).toEqual([200, 200, 200])
      await allIdle(app)
    }
    await asSuperuser(database, (client) => client.query(`alter role ${database.appRole} reset transaction_timeout`))
  })
})
