import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { runWithTenant } from '../../src/index.ts'
import { createTenancy } from '../../src/tenancy.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, optionsFor, type PlainDb } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { add, db, gate, running, shop, until } from './fixture.ts'

const CLOSED = { code: 'TENANCY_ERR_CLOSED', statusCode: 503 }
const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no error',
    (error: { code?: string; cause?: { code?: string } }) => error.cause?.code ?? error.code,
  )

describeWith(['postgres18'], 'closing', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const connections = (role: string) =>
    asSuperuser(database, async (client) => {
      const { rowCount } = await client.query('select from pg_stat_activity where usename = $1', [role])
      return rowCount
    })
  const milliseconds = async (work: () => Promise<unknown>): Promise<number> => {
    const start = Date.now()
    await work()
    return Date.now() - start
  }

  it('ends every connection, lets requests in flight finish, and refuses what comes later with a code', async () => {
    const app = await shop(database, {}, (made) => {
      made.post('/slow', { config: { tenancy: { transaction: true } } }, async () => {
        await db().execute(sql`select pg_sleep(0.3)`)
        await add('in flight')
        return 'finished'
      })
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as AddressInfo
    let held: PlainDb | undefined
    await app.tenancy.run('acme', () => void (held = db()))
    const slow = post(port, '/slow')
    await running(database, 'pg_sleep(0.3)')
    const closing = app.close()
    expect(await slow).toBe('finished')
    await closing

    await until(async () => (await connections(database.appRole)) === 0)
    await until(async () => (await connections(database.ownerRole)) === 0)
    expect(await codeOf(add('late', held))).toBe(CLOSED.code)
    expect(await codeOf((held as PlainDb).transaction((inner) => add('late', inner)))).toBe(CLOSED.code)
    const { tenancy } = app
    for (const use of [
      () => tenancy.ensure({ identifier: 'acme' }),
      () => tenancy.register({ identifier: 'other' }),
      () => tenancy.run('acme', () => 'ran'),
      () => tenancy.get('acme'),
      () => tenancy.list(),
      () => tenancy.suspend('acme'),
      () => tenancy.update('acme', { name: 'x' }),
      () => tenancy.adminDb(),
    ]) {
      await expect(use()).rejects.toMatchObject(CLOSED)
    }
    await expect(runWithTenant('acme', () => 'ran')).rejects.toMatchObject({ code: 'TENANCY_ERR_NOT_STARTED' })
    const down = { ok: false, code: CLOSED.code }
    expect(await tenancy.health()).toMatchObject({ ok: false, checks: { database: down, store: down } })
    expect(tenancy.getMetrics().pools['serving']).toEqual({ total: 0, idle: 0, waiting: 0 })

    const seen = await shopNames()
    expect(seen).toEqual(['in flight'])
  })

  it('twice is closing once', async () => {
    const app = await shop(database)
    await Promise.all([app.close(), app.close()])
    await app.close()

    const errors: unknown[] = []
    const log = { debug: () => {}, warn: () => {}, error: (details: object) => void errors.push(details) }
    const instance = createTenancy(parseConfig(optionsFor(database), {}), log)
    await instance.start()
    await Promise.all([instance.close(), instance.close()])
    await instance.close()
    expect(errors).toEqual([])
    const unstarted = createTenancy(parseConfig(optionsFor(database), {}), log)
    await unstarted.close()
    expect(errors).toEqual([])
  })

  it.each([
    ['a connection that nobody gives back', async (held: PlainDb) => void (await held.$client.connect())],
    ['a transaction that never ends', (held: PlainDb) => held.transaction(() => new Promise(() => {}))],
    ['a statement that never ends', (held: PlainDb) => held.execute(sql`select pg_sleep(60)`)],
  ])('[W69] past %s ends the rest, in time, and cuts that one', async (title, occupy) => {
    const app = await shop(database, { closeTimeoutSeconds: 1 })
    let held: PlainDb | undefined
    await app.tenancy.run('acme', () => void (held = db()))
    const occupied = Promise.resolve(occupy(held as PlainDb)).then(
      () => 'done',
      (error: { cause?: { code?: string } }) => error.cause?.code,
    )
    await until(() => {
      const pool = app.tenancy.getMetrics().pools['serving']
      return pool !== undefined && pool.total > pool.idle
    })
    await sleep(50)
    const admin = until(async () => (await connections(database.ownerRole)) === 0, 0.9)
    expect(await milliseconds(() => app.close())).toBeLessThan(2000)
    await admin
    await until(async () => {
      const left = await asSuperuser(database, async (client) => {
        const { rows } = await client.query<{ query: string }>(
          'select query from pg_stat_activity where usename = $1',
          [database.appRole],
        )
        return rows
      })
      // The server only notices at its next word to us that nobody waits for pg_sleep any more.
      return left.every(({ query }) => query.includes('pg_sleep(60)'))
    })
    if (title.includes('statement')) expect(await occupied).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
  })

  it('[W69] tells the log when a part was not closed in time', async () => {
    const logged: unknown[] = []
    const log = { debug: () => {}, warn: () => {}, error: (...line: unknown[]) => void logged.push(line) }
    const hold = gate()
    const instance = createTenancy(parseConfig(optionsFor(database, { closeTimeoutSeconds: 1 }), {}), log)
    await instance.ensure({ identifier: 'holds-on' })
    const held = instance.run('holds-on', () =>
      db().transaction(async (inner) => {
        await inner.execute(sql`select 1`)
        await hold.passed
      }),
    )
    const outcome = codeOf(held)
    await sleep(50)
    await instance.close()
    expect(logged).toEqual([[{ error: 'not closed in time' }, 'fastify-tenancy could not close the database']])
    await sleep(50)
    hold.open()
    expect(await outcome).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
  })

  /** On a connection of its own: Fastify waits for those that are kept alive. */
  function post(port: number, path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const sent = request(
        { port, path, host: '127.0.0.1', method: 'POST', agent: false, headers: as('acme') },
        (answer) => {
          let body = ''
          answer.on('data', (chunk) => (body += String(chunk)))
          answer.on('end', () => resolve(body))
        },
      )
      sent.on('error', reject)
      sent.end()
    })
  }

  async function shopNames(): Promise<string[]> {
    const instance = createTenancy(parseConfig(optionsFor(database), {}), {
      debug: () => {},
      warn: () => {},
      error: () => {},
    })
    const names = await instance.run('acme', async () => {
      const { rows } = await db().execute<{ name: string }>(sql`select name from items`)
      return rows.map(({ name }) => name)
    })
    await instance.close()
    return names
  }
})
