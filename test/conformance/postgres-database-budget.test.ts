import { createServer, connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import pg from 'pg'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { currentContext, enterContext, TenancyContext } from '../../src/context.ts'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { openTenantDatabases, withDatabase } from '../../src/dialects/postgres/drivers/pg-tenant-databases.ts'
import type { PgClient, PgModule } from '../../src/dialects/postgres/drivers/pg-types.ts'
import { findTenancyError } from '../../src/errors.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { withPort } from '../servers/database.ts'
import { startPostgres } from '../servers/postgres.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope, provisionScope, testServer } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'
import { databaseHost, type DatabaseHost } from '../support/tenant-databases.ts'

const TENANTS = 40
const ddl = (name: string) => [
  'create table items (owner text not null, n int not null default 0)',
  `insert into items (owner) values ('${name}')`,
]

describeWith(['postgres18'], 'the budget of connections to databases of tenants', ({ postgres18 }) => {
  let host: DatabaseHost
  let server: DatabaseServer
  let scopes: Scope[]

  const serverWith = async (options: Parameters<typeof testServer>[1] = {}) => {
    const made = testServer(host, { strategies: ['database'], databaseTemplate: host.template, ...options })
    onTestFinished(() => made.close())
    await made.open()
    return made
  }
  const dbOf = (scope: Scope | undefined, on = server) =>
    drizzle({ client: on.client(scope as Scope, open) as unknown as pg.Pool })
  const ownerOf = async (scope: Scope | undefined, on = server, wait = 0) =>
    (await dbOf(scope, on).execute(sql.raw(`select owner from items, pg_sleep(${wait})`))).rows[0]?.['owner']
  const pools = (on = server) => on.stats()['tenants']
  /** Connections to databases of tenants, as PostgreSQL itself counts them; its own autovacuum works there too. */
  const watch = async (work: Promise<unknown>, namespaces = scopes.map(({ namespace }) => namespace)) => {
    const seen = { over: false, peak: 0, looks: 0 }
    const done = work.finally(() => {
      seen.over = true
    })
    await host.asSuperuserIn('postgres', async (client) => {
      while (!seen.over) {
        const { rows } = await client.query<{ n: number }>(
          `select count(*)::int as n from pg_stat_activity
            where datname = any($1) and backend_type = 'client backend'`,
          [namespaces],
        )
        seen.peak = Math.max(seen.peak, rows[0]?.n ?? 0)
        seen.looks++
      }
    })
    await done
    return { peak: seen.peak, looks: seen.looks }
  }

  beforeAll(async () => {
    host = await databaseHost(postgres18.url)
    server = testServer(host, { strategies: ['database'], databaseTemplate: host.template, poolTimeout: 60 })
    await server.open()
    scopes = await Promise.all(
      Array.from({ length: TENANTS }, (_, i) =>
        provisionScope(server, ddl(`tenant-${i}`), placedScope(namespaceStrategy('database'))),
      ),
    )
  }, 120_000)
  afterAll(async () => {
    await server?.close()
    await host?.drop()
  })

  it('[W57] 40 tenants at once never have more than 5 connections, and each only its own rows', async () => {
    const statements = Array.from({ length: 2000 }, async (_, i) => {
      const at = (i * 7) % TENANTS
      const db = dbOf(scopes[at])
      if (i % 10 === 0) {
        await db.transaction(async (tx) => {
          await tx.execute(sql`update items set n = n + 1`)
          await sleep(1)
        })
      } else expect(await ownerOf(scopes[at], server, i % 50 === 1 ? 0.02 : 0)).toBe(`tenant-${at}`)
    })
    const { peak, looks } = await watch(Promise.all(statements))
    expect(peak).toBe(5)
    expect(looks).toBeGreaterThan(100)
    expect(pools()).toMatchObject({ waiting: 0 })
    let sum = 0
    for (const scope of scopes) sum += Number((await dbOf(scope).execute(sql`select n from items`)).rows[0]?.['n'])
    expect(sum).toBe(200)
  }, 120_000)

  it('[W57] 800 uses of tenants in turn, one after the other, never end a connection under a query', async () => {
    const small = await serverWith({ maxTenantConnections: 3, tenantPoolSize: 2 })
    let next = 0
    const worker = async () => {
      for (let i = next++; i < 800; i = next++)
        expect(await ownerOf(scopes[i % TENANTS], small, 0.001)).toBe(`tenant-${i % TENANTS}`)
    }
    for (const scope of scopes) server.forget?.(scope)
    await expect.poll(() => pools()?.total).toBe(0)
    const { peak } = await watch(Promise.all(Array.from({ length: 8 }, worker)))
    expect(peak).toBe(3)
  }, 120_000)

  it('counts the connections that make and migrate databases in the same budget', async () => {
    const one = await serverWith({ maxTenantConnections: 1 })
    const fresh = Array.from({ length: 3 }, () => placedScope(namespaceStrategy('database')))
    const work = Promise.all([
      ...fresh.map((scope) => provisionScope(one, ddl('fresh'), scope)),
      ...scopes.slice(0, 5).map((scope) => ownerOf(scope, one)),
    ])
    const { peak } = await watch(
      work,
      [...fresh, ...scopes].map(({ namespace }) => namespace),
    )
    expect(peak).toBe(1)
  })

  it('no tenant has more connections than it may, whatever the others leave', async () => {
    const capped = await serverWith({ maxTenantConnections: 5, tenantPoolSize: 2 })
    const work = Promise.all(Array.from({ length: 20 }, () => ownerOf(scopes[0], capped, 0.02)))
    expect((await watch(work, [scopes[0]?.namespace ?? ''])).peak).toBe(2)
  })

  it('waits no longer than it may; then the answer is 503 with Retry-After', async () => {
    const full = await serverWith({ maxTenantConnections: 1, poolTimeout: 1 })
    const busy = ownerOf(scopes[0], full, 2)
    await sleep(100)
    const error: unknown = await ownerOf(scopes[1], full).catch((reason: unknown) => reason)
    expect(findTenancyError(error)).toMatchObject({
      code: 'TENANCY_ERR_POOL_TIMEOUT',
      statusCode: 503,
      headers: { 'retry-after': '5' },
    })
    await busy
    expect(await ownerOf(scopes[1], full)).toBe('tenant-1')
  })

  it('hands on no connection whose backend was killed, idle or in use', async () => {
    const kill = () =>
      host.asSuperuserIn('postgres', (client) =>
        client.query('select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = any($1)', [
          scopes.map(({ namespace }) => namespace),
        ]),
      )
    await Promise.all(scopes.slice(0, 5).map((scope) => ownerOf(scope)))
    await kill()
    await expect.poll(() => pools()?.idle).toBe(0)
    expect(await Promise.all(scopes.slice(0, 5).map((scope) => ownerOf(scope)))).toHaveLength(5)
    const running = scopes.slice(0, 4).map((scope) => codeOf(() => ownerOf(scope, server, 30)))
    const inTransaction = codeOf(() =>
      dbOf(scopes[4]).transaction(async (tx) => {
        await tx.execute(sql`select 1`)
        await sleep(1500)
        await tx.execute(sql`select 2`)
      }),
    )
    await expect.poll(() => pools()).toEqual({ total: 5, idle: 0, waiting: 0 })
    await sleep(200)
    await kill()
    expect(new Set(await Promise.all(running))).toEqual(new Set(['TENANCY_ERR_DATABASE_UNAVAILABLE']))
    expect(await inTransaction).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
    expect(await ownerOf(scopes[0])).toBe('tenant-0')
    await expect.poll(() => pools()?.waiting).toBe(0)
  })

  it('gives a place back also when the other side never says goodbye', async () => {
    const hole = await startHole(postgres18.port)
    onTestFinished(() => hole.stop())
    const module = pg as unknown as PgModule
    const databases = openTenantDatabases(module, {
      url: withPort(host.appUrl, hole.port),
      adminUrl: host.adminUrl,
      path: () => [],
      maxConnections: 1,
      perTenant: 1,
      timeoutMs: 10_000,
      maxLifetimeSeconds: 3600,
    })
    const checkout = (scope: Scope | undefined) =>
      new Promise<PgClient>((resolve, reject) => {
        databases
          .serving(scope?.namespace ?? '')
          .checkout((failure, client) => (client ? resolve(client) : reject(failure)))
      })
    ;(await checkout(scopes[0])).release()
    hole.swallow(true)
    const next = checkout(scopes[1])
    await sleep(200)
    hole.swallow(false)
    const client = await next
    expect((await client.query('select current_database() as name', [])).rows).toEqual([{ name: scopes[1]?.namespace }])
    client.release()
    await databases.end(1000)
    expect(databases.stats()).toEqual({ total: 0, idle: 0, waiting: 0 })
  }, 20_000)

  it('works outside of any context, and calls back in that of who asked', async () => {
    const databases = openTenantDatabases(pg as unknown as PgModule, {
      url: host.appUrl,
      adminUrl: host.adminUrl,
      path: () => [],
      maxConnections: 1,
      perTenant: 1,
      timeoutMs: 10_000,
      maxLifetimeSeconds: 3600,
    })
    const instance = { databaseOf: () => ({}), run: () => Promise.reject(new Error('unused')) }
    const [ofA, ofB] = [new TenancyContext(instance, undefined), new TenancyContext(instance, undefined)]
    const checkout = (context: TenancyContext, scope: Scope | undefined) =>
      new Promise<PgClient>((resolve, reject) => {
        enterContext(context, () =>
          databases.serving(scope?.namespace ?? '').checkout((failure, client) => {
            expect(currentContext()).toBe(context)
            if (client === undefined) reject(failure)
            else resolve(client)
          }),
        )
      })
    const first = await checkout(ofA, scopes[0])
    const [same, other] = [checkout(ofB, scopes[0]), checkout(ofB, scopes[1])]
    await sleep(20)
    enterContext(ofA, () => first.release())
    const again = await same
    expect(again).toBe(first)
    // A socket runs what it calls in the context that it was opened in: it must have been none.
    const seen = await new Promise((resolve) => {
      const query = new pg.Query('select 1')
      Object.assign(query, { callback: () => resolve(currentContext()) })
      enterContext(ofB, () => again.query(query as never))
    })
    expect(seen).toBeUndefined()
    enterContext(ofA, () => again.release())
    const late = await other
    const seenLate = await new Promise((resolve) => {
      const query = new pg.Query('select 1')
      Object.assign(query, { callback: () => resolve(currentContext()) })
      late.query(query as never)
    })
    expect(seenLate).toBeUndefined()
    late.release()
    await databases.end(1000)
  })

  it('outlives a restart of the server', async () => {
    const postgres = await startPostgres({ version: 18 })
    const own = await databaseHost(postgres.url)
    const there = testServer(own, { strategies: ['database'], databaseTemplate: own.template, poolTimeout: 5 })
    try {
      await there.open()
      const scope = await provisionScope(there, ddl('here'), placedScope(namespaceStrategy('database')))
      expect(await ownerOf(scope, there)).toBe('here')
      await postgres.kill()
      expect(await codeOf(() => ownerOf(scope, there))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
      await postgres.restart()
      expect(await ownerOf(scope, there)).toBe('here')
      expect(there.stats()['tenants']).toMatchObject({ total: 1, idle: 1, waiting: 0 })
    } finally {
      await there.close()
      await postgres.stop()
    }
  }, 60_000)

  it('ends with the app: waits for what runs, refuses what comes after', async () => {
    const closing = testServer(host, { strategies: ['database'] })
    await closing.open()
    const running = ownerOf(scopes[0], closing, 0.3)
    await sleep(100)
    const closed = closing.close()
    expect(await codeOf(() => ownerOf(scopes[1], closing))).toBe('TENANCY_ERR_CLOSED')
    expect(await running).toBe('tenant-0')
    await closed
  })
})

it.each([
  ['postgres://app@host/main', 'postgres://app@host/t1'],
  [
    'postgresql://app:pass%2Fword@host:5433/main?sslmode=require',
    'postgresql://app:pass%2Fword@host:5433/t1?sslmode=require',
  ],
  ['postgres://app@host', 'postgres://app@host/t1'],
  ['postgres://app@/main?host=/var/run/postgresql', 'postgres://app@/t1?host=/var/run/postgresql'],
  ['postgres://app@%2Fvar%2Frun/main', 'postgres://app@%2Fvar%2Frun/t1'],
])('leads %s to another database', (url, expected) => {
  expect(withDatabase(url, 't1')).toBe(expected)
})

/** A proxy that can stop to pass on what comes, in both directions, without closing anything. */
async function startHole(target: number) {
  let swallowing = false
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const behind = connect({ port: target, host: '127.0.0.1' })
    let dead = false
    for (const [from, to] of [
      [client, behind],
      [behind, client],
    ] as const) {
      sockets.add(from)
      from.on('data', (chunk) => {
        dead ||= swallowing
        if (!dead) to.write(chunk)
      })
      from.on('error', () => {})
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
  })
  server.on('connection', (socket) => Object.assign(socket, { allowHalfOpen: true }))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as { port: number }).port,
    swallow: (on: boolean) => {
      swallowing = on
    },
    stop: async () => {
      const closed = new Promise((done) => server.close(done))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
