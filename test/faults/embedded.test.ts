import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/pglite'
import Fastify, { type FastifyInstance } from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import { tenancy, type TenancyOptions } from '../../src/index.ts'
import { as } from '../support/app.ts'
import { add, call, db, gate, itemsMigration, migrationsOf, namesIn, until } from './fixture.ts'

const TRANSACTION = { config: { tenancy: { transaction: true } } } as const

const embedded = async (options: TenancyOptions, routes: (app: FastifyInstance) => void): Promise<FastifyInstance> => {
  // On a busy machine a first start takes long.
  const app = Fastify({ pluginTimeout: 60_000 })
  await app.register(tenancy, {
    databaseUrl: 'pglite:memory',
    migrations: await migrationsOf(itemsMigration),
    drizzle: (client) => drizzle({ client }),
    closeTimeoutSeconds: 1,
    ...options,
  })
  routes(app)
  await app.ready()
  onTestFinished(() => app.close())
  await app.tenancy.ensure({ identifier: 'acme' })
  return app
}

it('the embedded database rolls back what failed and serves on', async () => {
  const app = await embedded({}, (made) => {
    made.post('/throws', TRANSACTION, async () => {
      await add('one')
      throw Object.assign(new Error('no such order'), { statusCode: 404 })
    })
    made.post('/own', () =>
      db().transaction(async (inner) => {
        await add('one', inner)
        throw Object.assign(new Error('no such order'), { statusCode: 404 })
      }),
    )
    made.post('/swallows', TRANSACTION, async () => {
      await add('one')
      await add('one').catch(() => {})
      return 'fine'
    })
    made.post('/deferred', TRANSACTION, async () => {
      await db().execute(sql`insert into items (name, parent) values ('orphan', 4711)`)
      return 'fine'
    })
    made.post('/fine', TRANSACTION, async () => {
      await add('kept')
      return 'fine'
    })
  })
  expect((await call(app, '/throws', 'POST')).statusCode).toBe(404)
  expect((await call(app, '/own', 'POST')).statusCode).toBe(404)
  expect((await call(app, '/swallows', 'POST')).json()).toMatchObject({ code: 'TENANCY_ERR_TRANSACTION_ROLLED_BACK' })
  expect((await call(app, '/deferred', 'POST')).statusCode).toBe(500)
  expect(await namesIn(app)).toEqual([])
  expect((await call(app, '/fine', 'POST')).body).toBe('fine')
  expect(await namesIn(app)).toEqual(['kept'])
})

it('the embedded database serves nobody any more when a statement stopped it half-way, and keeps what was committed', async () => {
  const folder = join(await mkdtemp(join(tmpdir(), 'tenancy-embedded-')), 'data')
  onTestFinished(() => rm(dirname(folder), { recursive: true, force: true }))
  const options = { databaseUrl: `pglite:${folder}` }
  // No stack is left: PGlite itself answers nothing, not even an error.
  const stop = sql`select (repeat('[', 1000000) || repeat(']', 1000000))::json`
  const app = await embedded(options, (made) => {
    made.post('/kept', () => add('kept'))
    made.post('/stops', TRANSACTION, async () => {
      await add('lost')
      await db().execute(stop)
      return 'fine'
    })
  })
  expect((await call(app, '/kept', 'POST')).statusCode).toBe(200)
  for (const url of ['/stops', '/kept']) {
    const answer = await call(app, url, 'POST')
    expect([answer.statusCode, answer.json().code], url).toEqual([503, 'TENANCY_ERR_DATABASE_UNAVAILABLE'])
  }
  expect((await app.tenancy.health()).ok).toBe(false)
  await app.close()
  expect(await namesIn(await embedded(options, () => {}))).toEqual(['kept'])
})

it('the embedded database makes others wait for an open transaction, for so long', async () => {
  const [reached, hold] = [gate(), gate()]
  const app = await embedded({ databasePoolTimeout: 1 }, (made) => {
    made.get('/names', async () => (await db().execute(sql`select name from items`)).rows)
    made.get('/hold', TRANSACTION, async () => {
      await db().execute(sql`select 1`)
      reached.open()
      await hold.passed
      return 'held'
    })
  })
  const holder = call(app, '/hold')
  await reached.passed
  const waiting = call(app, '/names')
  await until(() => app.tenancy.getMetrics().pools['embedded']?.waiting === 1)
  const answer = await waiting
  expect(answer.statusCode).toBe(503)
  expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
  expect(answer.json()).toMatchObject({ code: 'TENANCY_ERR_POOL_TIMEOUT' })
  hold.open()
  expect((await holder).body).toBe('held')
  expect((await call(app, '/names')).statusCode).toBe(200)
})

it('the embedded database is free again when a client goes away in the middle of its transaction', async () => {
  const [reached, hold] = [gate(), gate()]
  const app = await embedded({ databasePoolTimeout: 2 }, (made) => {
    made.post('/hold', TRANSACTION, async () => {
      await add('one')
      reached.open()
      await hold.passed
    })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as { port: number }
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('POST /hold HTTP/1.1\r\nhost: x\r\nx-tenant-id: acme\r\ncontent-length: 0\r\n\r\n')
  await reached.passed
  socket.resetAndDestroy()
  expect(await namesIn(app)).toEqual([])
  hold.open()
})

it('the embedded database closes with the app, also under an open transaction, and refuses what comes later', async () => {
  for (const open of [false, true]) {
    const app = await embedded({}, () => {})
    if (open) {
      void app.tenancy
        .run('acme', () =>
          db().transaction(async (inner) => {
            await inner.execute(sql`select 1`)
            await sleep(2000)
          }),
        )
        .catch(() => {})
      await sleep(100)
    }
    const start = Date.now()
    await app.close()
    expect(Date.now() - start).toBeLessThan(1700)
    await expect(app.tenancy.ensure({ identifier: 'acme' })).rejects.toMatchObject({ code: 'TENANCY_ERR_CLOSED' })
    expect((await app.tenancy.health()).ok).toBe(false)
  }
})

it('the embedded database leaves nothing of a tenant whose migration failed', async () => {
  const app = await embedded(
    {
      migrations: await migrationsOf(itemsMigration, [
        'create table "a" ("id" integer)',
        'create table "a" ("id" integer)',
      ]),
    },
    () => {},
  ).then(
    () => new Error('it did not fail'),
    (error: Error) => error,
  )
  expect(app).toMatchObject({ code: 'TENANCY_ERR_MIGRATION_FAILED' })
  expect(app.message).toContain('failed at statement 2: ')
})

it('the embedded database gives six ensure() at once the same tenant', async () => {
  const app = await embedded({}, () => {})
  const made = await Promise.all(Array.from({ length: 6 }, () => app.tenancy.ensure({ identifier: 'shared' })))
  expect(new Set(made.map(({ id }) => id)).size).toBe(1)
  expect((await app.inject({ url: '/', headers: as('shared') })).statusCode).toBe(404)
})
