import { AsyncResource } from 'node:async_hooks'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'
import { add, allIdle, call, db, namesIn, openTransactions, shop } from './fixture.ts'

const TRANSACTION = { config: { tenancy: { transaction: true } } } as const

describeWith(['postgres18'], 'a route in a transaction', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const serve = (routes: (app: FastifyInstance) => void) => shop(database, { databasePoolSize: 2 }, routes)

  it('is committed before the reply is sent: whoever has the reply sees the row', async () => {
    const app = await serve((app) => {
      app.post('/add/:name', TRANSACTION, async (request) => {
        await add((request.params as { name: string }).name)
        return 'added'
      })
    })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    const { placement } = (await app.tenancy.get('acme')) ?? { placement: { namespace: '' } }
    const observer = new Client({ connectionString: database.superUrl })
    await observer.connect()
    onTestFinished(() => observer.end())
    for (let i = 0; i < 100; i++) {
      const answer = await fetch(`${url}/add/n${i}`, { method: 'POST', headers: as('acme') })
      const { rows } = await observer.query(`select 1 from "${placement.namespace}".items where name = $1`, [`n${i}`])
      expect([answer.status, rows.length]).toEqual([200, 1])
    }
    await allIdle(app)
  })

  it('is rolled back when anything throws, before, in or after the handler', async () => {
    const app = await serve((app) => {
      const oops = () => Object.assign(new Error('no'), { statusCode: 409 })
      const insert = async () => void (await add('one'))
      const fail = async () => {
        throw oops()
      }
      app.post('/handler', TRANSACTION, async () => {
        await add('one')
        throw oops()
      })
      app.post('/send-error', TRANSACTION, async (_request, reply) => {
        await add('one')
        return reply.send(oops())
      })
      app.post('/callback', TRANSACTION, (_request, reply) => {
        void add('one').then(() => reply.send(oops()))
      })
      app.post('/no-error', TRANSACTION, async () => {
        await add('one')
        throw { statusCode: 409, message: 'not an Error' } as unknown as Error
      })
      app.post('/pre', { ...TRANSACTION, preHandler: [insert, fail] }, async () => 'never')
      app.post('/serialization', { ...TRANSACTION, preSerialization: fail }, async () => {
        await add('one')
        return { some: 'object' }
      })
      app.post('/on-send', { ...TRANSACTION, onSend: fail }, async () => {
        await add('one')
        return 'never'
      })
    })
    for (const url of ['/handler', '/send-error', '/callback', '/no-error', '/pre', '/serialization', '/on-send']) {
      expect((await call(app, url, 'POST')).statusCode, url).toBe(409)
      expect(await namesIn(app), url).toEqual([])
    }
    await allIdle(app)
  })

  it('is committed when the handler answers with an error status by itself', async () => {
    const app = await serve((app) => {
      app.post('/teapot', TRANSACTION, async (_request, reply) => {
        await add('one')
        return reply.code(418).send('short and stout')
      })
    })
    expect((await call(app, '/teapot', 'POST')).statusCode).toBe(418)
    expect(await namesIn(app)).toEqual(['one'])
  })

  it('whose COMMIT fails is an error, and nothing stays', async () => {
    const app = await serve((app) => {
      app.post('/deferred', TRANSACTION, async () => {
        await db().execute(sql`insert into items (name, parent) values ('orphan', 4711)`)
        return 'done'
      })
      app.post('/stream', TRANSACTION, async (_request, reply) => {
        await db().execute(sql`insert into items (name, parent) values ('orphan', 4711)`)
        return reply.type('text/plain').send(Readable.from(['done']))
      })
      app.post('/own', () =>
        db().transaction((inner) => inner.execute(sql`insert into items (name, parent) values ('orphan', 4711)`)),
      )
    })
    for (const url of ['/deferred', '/stream', '/own']) {
      const answer = await call(app, url, 'POST')
      expect(answer.statusCode, url).toBe(500)
      expect(answer.body, url).not.toContain('done')
      expect(await namesIn(app), url).toEqual([])
    }
    await allIdle(app)
    expect(await openTransactions(database)).toBe(0)
  })

  it('whose handler swallows the failure of a statement is an error, not a 200', async () => {
    const app = await serve((app) => {
      app.post('/swallow', TRANSACTION, async () => {
        await add('one')
        await add('one').catch(() => {})
        return 'fine'
      })
      app.post('/own', async () => {
        await db().transaction(async (inner) => {
          await add('one', inner)
          await add('one', inner).catch(() => {})
        })
        return 'fine'
      })
    })
    for (const url of ['/swallow', '/own']) {
      const answer = await call(app, url, 'POST')
      expect(answer.statusCode, url).toBe(500)
      expect(answer.json(), url).toMatchObject({ code: 'TENANCY_ERR_TRANSACTION_ROLLED_BACK' })
      expect(await namesIn(app), url).toEqual([])
    }
    await allIdle(app)
  })

  it('can try in a savepoint and go on', async () => {
    const app = await serve((app) => {
      app.post('/try', TRANSACTION, async () => {
        await add('one')
        await db()
          .transaction((inner) => add('one', inner))
          .catch(() => {})
        await add('two')
        return 'fine'
      })
    })
    expect((await call(app, '/try', 'POST')).statusCode).toBe(200)
    expect(await namesIn(app)).toEqual(['one', 'two'])
  })

  it('runs parallel nested transactions one after the other, so that none undoes what another has done', async () => {
    const app = await serve((app) => {
      app.post('/parallel', TRANSACTION, async () => {
        const outer = db()
        const results = await Promise.allSettled([
          outer.transaction(async () => {
            await add('undone')
            await sleep(50)
            await outer.execute(sql`select 1`)
            throw new Error('no')
          }),
          outer.transaction(() => add('nested')),
          sleep(10).then(() => add('beside')),
          outer.transaction(() => outer.transaction(() => add('deep'))),
        ])
        return results.map(({ status }) => status)
      })
    })
    const answer = await call(app, '/parallel', 'POST')
    expect(answer.json()).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled'])
    expect((await namesIn(app)).toSorted()).toEqual(['beside', 'deep', 'nested'])
    await allIdle(app)
  })

  it('undoes nothing that was told as done: nested ones inside a nested one, and work that outlives one', async () => {
    const app = await serve((app) => {
      const failing = (work: () => Promise<unknown>) =>
        work()
          .then(() => sleep(60))
          .then(() => Promise.reject(new Error('no')))
      app.post('/deep', TRANSACTION, async () => {
        const outer = db()
        const results = await outer.transaction(() =>
          Promise.allSettled([
            outer.transaction((inner) => failing(() => add('undone', inner))),
            sleep(10).then(() => outer.transaction((inner) => add('deep', inner))),
            sleep(20).then(() => add('beside', outer)),
          ]),
        )
        return results.map(({ status }) => status)
      })
      app.post('/late', TRANSACTION, async () => {
        const outer = db()
        let late: Promise<unknown> = Promise.resolve()
        await outer.transaction(async (inner) => {
          await add('first', inner)
          late = sleep(20).then(() => add('late', outer))
        })
        const next = outer.transaction((inner) => failing(() => add('undone', inner)))
        return (await Promise.allSettled([late, next])).map(({ status }) => status)
      })
    })
    expect((await call(app, '/deep', 'POST')).json()).toEqual(['rejected', 'fulfilled', 'fulfilled'])
    expect((await call(app, '/late', 'POST')).json()).toEqual(['fulfilled', 'rejected'])
    expect((await namesIn(app)).toSorted()).toEqual(['beside', 'deep', 'first', 'late'])
    await allIdle(app)
  })

  it('never commits half of a nested transaction', async () => {
    let told: unknown
    const app = await serve((app) => {
      app.post('/half', TRANSACTION, async () => {
        await add('before')
        const nested = db().transaction(async (inner) => {
          await add('from', inner)
          await sleep(100)
          await add('to', inner)
        })
        nested.then(
          () => (told = 'done'),
          () => (told = 'failed'),
        )
        await sleep(30)
        return 'answered too early'
      })
    })
    expect((await call(app, '/half', 'POST')).json()).toMatchObject({ code: 'TENANCY_ERR_TRANSACTION_ROLLED_BACK' })
    expect(await namesIn(app)).toEqual([])
    await allIdle(app)
    await sleep(150)
    expect(told).toBe('failed')
  })

  it('waits for a nested transaction that waits for it as long as for a connection', async () => {
    const app = await shop(database, { databasePoolSize: 2, databasePoolTimeout: 1 }, (app) => {
      app.post('/bound', TRANSACTION, async () => {
        const beside = AsyncResource.bind(async () => await db().execute(sql`select 1`))
        const results: string[] = []
        await db().transaction(async (inner) => {
          await add('kept', inner)
          await beside().catch((error: { cause?: { code?: string } }) => results.push(error.cause?.code ?? ''))
          await db().transaction(async (deeper) => add('deeper', deeper))
        })
        await add('after')
        return results
      })
    })
    expect((await call(app, '/bound', 'POST')).json()).toEqual(['TENANCY_ERR_POOL_TIMEOUT'])
    expect((await namesIn(app)).toSorted()).toEqual(['after', 'deeper', 'kept'])
    await allIdle(app)
  })

  it('gives no turn to who comes after one that did not want to wait', async () => {
    const app = await shop(database, { databasePoolSize: 2, databasePoolTimeout: 1 }, (app) => {
      app.post('/queue', TRANSACTION, async () => {
        const outer = db()
        const results = await Promise.allSettled([
          outer.transaction(async (inner) => {
            await add('undone', inner)
            await sleep(1500)
            throw new Error('no')
          }),
          outer.transaction((inner) => add('late', inner)),
          sleep(700).then(() => outer.transaction((inner) => add('told', inner))),
        ])
        return results.map(({ status }) => status)
      })
    })
    expect((await call(app, '/queue', 'POST')).json()).toEqual(['rejected', 'rejected', 'fulfilled'])
    expect(await namesIn(app)).toEqual(['told'])
    await allIdle(app)
  })

  it('goes on after a nested transaction that could not begin', async () => {
    const app = await serve((app) => {
      app.post('/options', TRANSACTION, async () => {
        await db()
          .transaction((inner) => add('never', inner), { isolationLevel: 'serializable' })
          .catch(() => {})
        await add('one')
        await db().transaction((inner) => add('two', inner))
        return 'done'
      })
      app.post('/aborted', TRANSACTION, async () => {
        await db()
          .execute(sql`select 1/0`)
          .catch(() => {})
        const nested = () => db().transaction((inner) => add('never', inner))
        const results = await Promise.allSettled([nested(), nested(), add('never')])
        return results.map(({ status }) => status)
      })
    })
    expect((await call(app, '/options', 'POST')).body).toBe('done')
    expect((await call(app, '/aborted', 'POST')).json()).toMatchObject({ code: 'TENANCY_ERR_TRANSACTION_ROLLED_BACK' })
    expect((await namesIn(app)).toSorted()).toEqual(['one', 'two'])
    await allIdle(app)
  })

  it('that hijacks its reply is rolled back at the end of it: nobody could be told of a failed COMMIT', async () => {
    const app = await serve((app) => {
      app.post('/hijack', TRANSACTION, async (_request, reply) => {
        await add('one')
        reply.hijack()
        reply.raw.end('hijacked')
      })
    })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    const answer = await fetch(`${url}/hijack`, { method: 'POST', headers: as('acme') })
    expect(await answer.text()).toBe('hijacked')
    await allIdle(app)
    expect(await namesIn(app)).toEqual([])
  })

  it('that streams is committed before the first byte; its stream cannot use the transaction any more', async () => {
    const refused: unknown[] = []
    const app = await serve((app) => {
      app.post('/stream', TRANSACTION, async (_request, reply) => {
        const database = db()
        await add('one')
        async function* body() {
          yield 'first '
          await sleep(10)
          await database
            .execute(sql`select 1`)
            .catch((error: { cause?: { code?: string } }) => refused.push(error.cause?.code))
          yield 'last'
        }
        return reply.type('text/plain').send(Readable.from(body()))
      })
    })
    const answer = await call(app, '/stream', 'POST')
    expect([answer.statusCode, answer.body]).toEqual([200, 'first last'])
    expect(refused).toEqual(['TENANCY_ERR_TRANSACTION_FINISHED'])
    expect(await namesIn(app)).toEqual(['one'])
    await allIdle(app)
  })

  it('commits for HEAD as it does for GET', async () => {
    let calls = 0
    const app = await serve((app) => {
      app.get('/touch', { ...TRANSACTION, exposeHeadRoute: true }, async () => {
        await add(`call ${++calls}`)
        return 'touched'
      })
    })
    expect((await call(app, '/touch')).statusCode).toBe(200)
    expect((await call(app, '/touch', 'HEAD')).statusCode).toBe(200)
    expect(await namesIn(app)).toEqual(['call 1', 'call 2'])
    await allIdle(app)
  })

  it('opens no connection when its handler never touches the database', async () => {
    const proxy = await startProxy({ target: postgres18.port })
    onTestFinished(() => proxy.stop())
    const options = { databaseUrl: withPort(database.appUrl, proxy.port), databasePoolSize: 1 }
    const app = await shop(database, options, (app) => {
      app.get('/idle', TRANSACTION, async () => 'idle')
      app.get('/fail', TRANSACTION, async () => {
        throw Object.assign(new Error('no'), { statusCode: 409 })
      })
    })
    await call(app, '/names')
    proxy.resetCounters()
    expect((await call(app, '/idle')).body).toBe('idle')
    expect((await call(app, '/fail')).statusCode).toBe(409)
    expect([proxy.turns, proxy.accepted]).toEqual([0, 0])
  })

  it('gives each of many concurrent requests its own transaction', async () => {
    const app = await serve((app) => {
      app.post('/pair/:n', TRANSACTION, async (request) => {
        const { n } = request.params as { n: string }
        await add(`${n} a`)
        await sleep(Math.random() * 10)
        await add(`${n} b`)
        if (Number(n) % 2 === 1) throw Object.assign(new Error('odd'), { statusCode: 409 })
      })
    })
    const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => call(app, `/pair/${n}`, 'POST')))
    expect(answers.map(({ statusCode }) => statusCode)).toEqual(answers.map((_, n) => (n % 2 === 1 ? 409 : 200)))
    expect((await namesIn(app)).length).toBe(30)
    expect((await namesIn(app)).filter((name) => Number(name.split(' ')[0]) % 2 === 1)).toEqual([])
    await allIdle(app)
  })
})
