import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { findTenancyError } from '../../src/errors.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { add, allIdle, backends, call, db, namesIn, openTransactions, running, shop } from './fixture.ts'

const TRANSACTION = { config: { tenancy: { transaction: true } } } as const

/** SQLSTATE of the error or of what caused it: drizzle-orm wraps. */
const stateOf = (error: unknown): unknown =>
  (error as { cause?: { code?: string } }).cause?.code ?? (error as { code?: string }).code

const failures = {
  unique: { state: '23505', run: (on: Pick<ReturnType<typeof db>, 'execute'>) => add('taken', on) },
  syntax: { state: '42601', run: (on: Pick<ReturnType<typeof db>, 'execute'>) => on.execute(sql`selec 1`) },
  missing: {
    state: '42P01',
    run: (on: Pick<ReturnType<typeof db>, 'execute'>) => on.execute(sql`select * from no_such`),
  },
  division: { state: '22012', run: (on: Pick<ReturnType<typeof db>, 'execute'>) => on.execute(sql`select 1/0`) },
  block: {
    state: 'P0001',
    run: (on: Pick<ReturnType<typeof db>, 'execute'>) => on.execute(sql`do $$ begin raise exception 'no'; end $$`),
  },
  timeout: {
    state: '57014',
    run: (on: Pick<ReturnType<typeof db>, 'execute'>) => on.execute(sql`select pg_sleep(20)`),
  },
} as const

describeWith(['postgres18'], 'a statement that fails', ({ postgres18 }) => {
  let database: TestDatabase
  let app: FastifyInstance
  let caught: unknown[] = []

  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
    await asSuperuser(database, (client) =>
      client.query(`alter role ${database.appRole} set statement_timeout = '300ms'`),
    )
  })
  afterAll(() => database?.drop())

  const start = async () => {
    caught = []
    app = await shop(database, { databasePoolSize: 1 }, (made) => {
      made.addHook('onError', async (_request, _reply, error) => void caught.push(error))
      for (const [name, { run }] of Object.entries(failures)) {
        made.get(`/plain/${name}`, () => run(db()))
        made.get(`/transaction/${name}`, () => db().transaction((inner) => run(inner)))
        made.get(`/request/${name}`, TRANSACTION, () => run(db()))
      }
    })
    await app.tenancy.run('acme', () => add('taken'))
  }

  it('is the handler’s own error, and the connection serves the next request', async () => {
    await start()
    const fail = async (name: keyof typeof failures) => {
      const { state } = failures[name]
      for (const how of ['plain', 'transaction', 'request']) {
        const answer = await call(app, `/${how}/${name}`)
        expect(answer.statusCode, `${how} ${name}`).toBe(500)
        const error = caught.pop()
        expect(stateOf(error), `${how} ${name}`).toBe(state)
        expect(findTenancyError(error), `${how} ${name}`).toBeUndefined()
        expect((await call(app, '/names')).json(), `after ${how} ${name}`).toEqual([{ name: 'taken' }])
      }
    }
    // A block may change the session unseen: its connection is not handed on.
    await fail('block')
    await allIdle(app)
    const before = (await backends(database)).map(({ pid }) => pid)
    for (const name of ['unique', 'syntax', 'missing', 'division', 'timeout'] as const) await fail(name)
    await allIdle(app)
    expect(await openTransactions(database)).toBe(0)
    expect((await backends(database)).map(({ pid }) => pid)).toEqual(before)
  })

  it('because somebody cancelled it is the handler’s own error; because somebody killed it, 503', async () => {
    await start()
    for (const [how, status] of [
      ['pg_cancel_backend', 500],
      ['pg_terminate_backend', 503],
    ] as const) {
      for (const mode of ['plain', 'transaction', 'request']) {
        const answer = call(app, `/${mode}/timeout`)
        const { pid } = await running(database, 'pg_sleep(20)')
        await asSuperuser(database, (client) => client.query(`select ${how}($1)`, [pid]))
        expect((await answer).statusCode, `${how} ${mode}`).toBe(status)
        expect((await call(app, '/names')).statusCode, `after ${how} ${mode}`).toBe(200)
        await allIdle(app)
      }
    }
  })

  it('whatever a value throws when it is to be sent, nothing was sent, and the connection serves the next', async () => {
    const app = await shop(database, { databasePoolSize: 1 })
    const unknownName = Object.assign(new Error('no such name'), { code: '26000' })
    for (const thrown of [new Error('no'), unknownName, 'no', undefined]) {
      const toPostgres = () => {
        throw thrown
      }
      const insert = (on = db()) => on.execute(sql`insert into items (name) values (${sql.param({ toPostgres })})`)
      const failed = expect.objectContaining({ message: expect.stringMatching(/\bno\b|undefined/) })
      for (const run of [() => insert(), () => db().transaction((inner) => insert(inner as never))]) {
        await expect(app.tenancy.run('acme', run), String(thrown)).rejects.toMatchObject({ cause: failed })
        expect(await namesIn(app), `after ${String(thrown)}`).toEqual([])
      }
    }
    await allIdle(app)
  })

  it('[W18] next to an HTTP error of the handler leaves that error alone', async () => {
    const notFound = () => Object.assign(new Error('no such order'), { statusCode: 404 })
    const app = await shop(database, { databasePoolSize: 1 }, (made) => {
      made.post('/transaction', () =>
        db().transaction(async (inner) => {
          await add('one', inner)
          throw notFound()
        }),
      )
      made.post('/failed', () =>
        db().transaction(async (inner) => {
          await add('one', inner)
          await inner.execute(sql`select 1/0`).catch(() => {})
          throw notFound()
        }),
      )
      made.post('/request', TRANSACTION, async () => {
        await add('one')
        throw notFound()
      })
      made.post('/plain', async () => {
        await db().execute(sql`select 1`)
        throw notFound()
      })
    })
    for (const url of ['/transaction', '/failed', '/request', '/plain']) {
      const answer = await call(app, url, 'POST')
      expect(answer.statusCode, url).toBe(404)
      expect(answer.json(), url).toEqual({ statusCode: 404, error: 'Not Found', message: 'no such order' })
      expect(await namesIn(app), url).toEqual([])
    }
    await allIdle(app)
  })

  it('[W45] is mapped by an app’s own error handler like any other error', async () => {
    const app = await shop(database, { databasePoolSize: 1, databasePoolTimeout: 1 }, (made) => {
      made.setErrorHandler((error: { code?: string; statusCode?: number }, _request, reply) => {
        void reply.code(error.statusCode ?? 500).send({ mine: true, code: error.code ?? null })
      })
      made.get('/broken', () => db().execute(sql`selec 1`))
      made.get('/wait', () => {
        const outside = db()
        return outside.transaction(() => outside.execute(sql`select 1`))
      })
      made.post('/lost', TRANSACTION, async () => {
        await add('one')
        throw Object.assign(new Error('teapot'), { statusCode: 418 })
      })
    })
    const broken = await call(app, '/broken')
    expect([broken.statusCode, broken.json()]).toEqual([500, { mine: true, code: null }])
    const waited = await call(app, '/wait')
    expect([waited.statusCode, waited.json()]).toEqual([503, { mine: true, code: 'TENANCY_ERR_POOL_TIMEOUT' }])
    const lost = await call(app, '/lost', 'POST')
    expect([lost.statusCode, lost.json()]).toEqual([418, { mine: true, code: null }])
    expect(await namesIn(app)).toEqual([])
    await allIdle(app)
  })
})
