import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { add, allIdle, backends, db, gate, namesIn, openTransactions, running, shop, until } from './fixture.ts'

const TRANSACTION = { config: { tenancy: { transaction: true } } } as const

describeWith(['postgres18'], 'a client that goes away', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const listening = async (routes: (app: FastifyInstance) => void) => {
    const unhandled: unknown[] = []
    const note = (error: unknown) => void unhandled.push(error)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.removeListener('unhandledRejection', note))
    const app = await shop(database, { databasePoolSize: 2 }, routes)
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as { port: number }
    return { app, port, unhandled }
  }

  /** Sends a request and destroys its socket when `when` says so. */
  const abort = async (port: number, url: string, when: () => Promise<unknown>) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(`POST ${url} HTTP/1.1\r\nhost: x\r\nx-tenant-id: acme\r\ncontent-length: 0\r\n\r\n`)
    await when()
    socket.resetAndDestroy()
  }

  it('during a statement keeps no connection, and a transaction of the request is rolled back', async () => {
    const { app, port, unhandled } = await listening((app) => {
      const slow = async (on: Pick<ReturnType<typeof db>, 'execute'>) => {
        await add('one', on)
        await on.execute(sql`select pg_sleep(0.4)`)
      }
      app.post('/plain', () => db().execute(sql`select pg_sleep(0.4)`))
      app.post('/request', TRANSACTION, () => slow(db()))
      app.post('/nested', TRANSACTION, () => db().transaction(slow))
    })
    for (const url of ['/plain', '/request', '/nested']) {
      await abort(port, url, () => running(database, 'pg_sleep(0.4)'))
      await allIdle(app)
      expect(await openTransactions(database), url).toBe(0)
      expect(await namesIn(app), url).toEqual([])
    }
    expect((await backends(database)).length).toBeLessThanOrEqual(2)
    expect(unhandled).toEqual([])
  })

  it('lets a transaction of the handler’s own end as the handler decides', async () => {
    const { app, port } = await listening((app) => {
      app.post('/own', () =>
        db().transaction(async (inner) => {
          await add('one', inner)
          await inner.execute(sql`select pg_sleep(0.3)`)
        }),
      )
    })
    await abort(port, '/own', () => running(database, 'pg_sleep(0.3)'))
    await until(async () => (await namesIn(app)).length === 1)
    await allIdle(app)
  })

  it('between two statements ends the transaction of the request; the handler’s next statement is refused', async () => {
    let [reached, go] = [gate(), gate()]
    const codes: unknown[] = []
    const { app, port, unhandled } = await listening((app) => {
      const paused = async (on: Pick<ReturnType<typeof db>, 'execute'>) => {
        await add('one', on)
        reached.open()
        await go.passed
        const failure = await add('two', on).catch((error: { cause?: { code?: string }; code?: string }) => error)
        codes.push('cause' in failure ? (failure.cause as { code?: string })?.code : failure)
      }
      app.post('/request', TRANSACTION, async () => {
        await paused(db())
        return 'answered'
      })
      app.post('/nested', TRANSACTION, () => db().transaction(paused))
    })
    for (const url of ['/request', '/nested']) {
      ;[reached, go] = [gate(), gate()]
      await abort(port, url, () => reached.passed)
      await allIdle(app)
      expect(await openTransactions(database), url).toBe(0)
      go.open()
      await until(() => codes.length > 0)
      expect(codes.pop(), url).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      await sleep(20)
      expect(await namesIn(app), url).toEqual([])
      await allIdle(app)
    }
    expect(unhandled).toEqual([])
  })

  it('while it waits for a connection takes none', async () => {
    const { app, port, unhandled } = await listening((app) => {
      app.post('/request', TRANSACTION, () => add('late'))
    })
    const hold = gate()
    const holders = [1, 2].map(() =>
      app.tenancy.run('acme', () =>
        db().transaction(async (inner) => {
          await inner.execute(sql`select 1`)
          await hold.passed
        }),
      ),
    )
    const waiting = () => app.tenancy.getMetrics().pools['serving']?.waiting === 1
    await abort(port, '/request', () => until(waiting))
    await sleep(50)
    hold.open()
    await Promise.all(holders)
    await allIdle(app)
    expect(await namesIn(app)).toEqual([])
    expect(unhandled).toEqual([])
  })

  it('a hundred times leaves the pool as it was', async () => {
    const { app, port, unhandled } = await listening((app) => {
      app.post('/request', TRANSACTION, async () => {
        await add(`n${Math.random()}`)
        await sleep(5)
        await db().execute(sql`select 1`)
      })
    })
    await Promise.all(Array.from({ length: 100 }, (_, i) => abort(port, '/request', () => sleep(i % 25))))
    await sleep(50)
    await allIdle(app)
    expect(await openTransactions(database)).toBe(0)
    expect((await backends(database)).length).toBeLessThanOrEqual(2)
    expect(unhandled).toEqual([])
  })
})
