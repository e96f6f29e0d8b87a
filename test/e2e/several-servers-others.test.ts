import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drizzle as libsqlDrizzle } from 'drizzle-orm/libsql'
import { drizzle as mysqlDrizzle } from 'drizzle-orm/mysql2'
import { drizzle as pgliteDrizzle } from 'drizzle-orm/pglite'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import tenancy, {
  createMemoryTenantStore,
  getTenantDb,
  type Placement,
  type TenancyOptions,
  type Tenant,
} from '../../src/index.ts'
import { type RunningMariadb, startMariadb } from '../servers/mariadb.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase } from '../support/mysql.ts'
import {
  mysqlNotes,
  mysqlRows,
  type NotesDb,
  notesMigrations,
  postgresNotes,
  sqliteNotes,
  sqliteRows,
} from '../support/notes.ts'

type Place = 'main' | 'eu'

interface Engine {
  readonly notes: object
  readonly options: () => TenancyOptions
  /** How many rows of this tenant are at a place, asked past the product; undefined where it cannot be. */
  readonly rowsAt?: (place: Place, placement: Placement) => Promise<number>
}

const folder = mkdtempSync(join(tmpdir(), 'tenancy-servers-'))
const migrationsIn = (quote: '"' | '`') => notesMigrations(folder, quote)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const db = () => getTenantDb() as NotesDb

/** Four tenants on two servers: apart in every round, served where they were placed, removed there. */
function keepsApart(strategies: readonly TenancyOptions['isolationStrategy'][], engine: Engine): void {
  const { notes } = engine as { notes: ReturnType<typeof sqliteNotes> }
  it.each(strategies)(
    '%s: each is made, served and removed on its own server',
    { timeout: 120_000 },
    async (isolationStrategy) => {
      // Two embedded databases take their time to start.
      const app = Fastify({ pluginTimeout: 0 }) as unknown as FastifyInstance
      onTestFinished(() => app.close())
      await app.register(tenancy, {
        isolationStrategy,
        schema: { notes },
        tenantStore: createMemoryTenantStore(),
        chooseServer: ({ identifier }) => identifier.slice(0, identifier.indexOf('-')),
        ...engine.options(),
      })
      app.get('/notes', async () => (await db().select().from(notes)).map(({ body }) => body))
      app.post('/notes/:body', { config: { tenancy: { transaction: true } } }, async (request) => {
        await db()
          .insert(notes)
          .values({ id: 1, body: (request.params as { body: string }).body })
        return 'added'
      })
      const get = async <T>(tenant: string, url: string) => (await app.inject({ url, headers: as(tenant) })).json<T>()
      const add = async (tenant: string, body: string) =>
        (await app.inject({ method: 'POST', url: `/notes/${body}`, headers: as(tenant) })).body

      const names = ['main-1', 'eu-1', 'main-2', 'eu-2']
      const tenants: Tenant[] = []
      for (const identifier of names) tenants.push(await app.tenancy.register({ identifier }))
      expect(tenants.map(({ placement }) => placement.server)).toEqual(['main', 'eu', 'main', 'eu'])
      await Promise.all(
        Array.from({ length: 60 }, async (_, index) => {
          const name = names[index % names.length] as string
          expect(await add(name, `${name}.${index}`)).toBe('added')
          for (const body of await get<string[]>(name, '/notes')) expect(body.startsWith(`${name}.`)).toBe(true)
        }),
      )
      for (const name of names) expect(await get(name, '/notes')).toHaveLength(15)
      const { rowsAt } = engine
      const there = async ({ placement }: Tenant) => [
        await rowsAt?.('main', placement),
        await rowsAt?.('eu', placement),
      ]
      if (rowsAt !== undefined) {
        expect(await Promise.all(tenants.map(there))).toEqual([
          [15, 0],
          [0, 15],
          [15, 0],
          [0, 15],
        ])
      }
      expect(await app.tenancy.health()).toMatchObject({
        ok: true,
        degraded: false,
        checks: { servers: { eu: { ok: true } } },
      })
      const pools = Object.keys(app.tenancy.getMetrics().pools)
      expect(pools.filter((pool) => pool.startsWith('eu.'))).toHaveLength(pools.length / 2)
      await app.tenancy.delete('eu-1')
      const { objects, rows } = await app.tenancy.purge('eu-1')
      expect(objects + rows).toBeGreaterThan(0)
      if (rowsAt !== undefined) expect(await there(tenants[1] as Tenant)).toEqual([0, 0])
      for (const name of ['main-1', 'main-2', 'eu-2']) expect(await get(name, '/notes')).toHaveLength(15)
    },
  )
}

/** A server beside `main` that is away at the start: it is `up()` later. */
function waitsFor(engine: Engine & { readonly down: () => Promise<void>; readonly up: () => Promise<void> }): void {
  it('a server that is away at the start is served as soon as it is there', { timeout: 60_000 }, async () => {
    const { notes } = engine as { notes: ReturnType<typeof sqliteNotes> }
    await engine.down()
    const app = Fastify() as unknown as FastifyInstance
    onTestFinished(() => app.close())
    await app.register(tenancy, {
      isolationStrategy: 'prefix',
      schema: { notes },
      tenantStore: createMemoryTenantStore(),
      ...engine.options(),
    })
    await app.ready()
    await app.tenancy.register({ identifier: 'at-home' })
    const registering = () => app.tenancy.register({ identifier: 'abroad', server: 'eu' })
    await expect(registering()).rejects.toMatchObject({ code: 'TENANCY_ERR_DATABASE_UNAVAILABLE', statusCode: 503 })
    expect(await app.tenancy.health()).toMatchObject({ ok: true, degraded: true })
    await engine.up()
    await expect.poll(async () => (await app.tenancy.health()).degraded, { timeout: 20_000 }).toBe(false)
    await registering()
    for (const identifier of ['at-home', 'abroad']) {
      const rows = await app.tenancy.run(identifier, async () => {
        await db().insert(notes).values({ id: 1, body: identifier })
        return db().select().from(notes)
      })
      expect(rows).toEqual([{ id: 1, body: identifier }])
    }
  })
}

/** The product's own registry, read by a second process. */
function remembers({ notes: table, options }: Engine): void {
  it('the registry is on main, and tells another process where each tenant is', { timeout: 60_000 }, async () => {
    const notes = table as ReturnType<typeof sqliteNotes>
    const started = async () => {
      const app = Fastify() as unknown as FastifyInstance
      onTestFinished(() => app.close())
      await app.register(tenancy, { isolationStrategy: 'prefix', schema: { notes }, ...options() })
      return app
    }
    const first = await started()
    for (const server of ['main', 'eu']) {
      await first.tenancy.register({ identifier: `kept-${server}`, server })
      await first.tenancy.run(`kept-${server}`, () => db().insert(notes).values({ id: 1, body: server }))
    }
    await first.close()
    const second = await started()
    for (const server of ['main', 'eu']) {
      const found = await second.tenancy.run(`kept-${server}`, async ({ placement }) => {
        const [note] = await db().select().from(notes)
        return [placement.server, note?.body]
      })
      expect(found).toEqual([server, server])
    }
  })
}

describeWith(['mariadb'], 'tenants on two MariaDB servers', ({ mariadb }) => {
  let second: RunningMariadb
  let main: MysqlDatabase
  let eu: MysqlDatabase
  beforeAll(async () => {
    second = await startMariadb()
    ;[main, eu] = await Promise.all([mysqlDatabase(mariadb.url), mysqlDatabase(second.url)])
  })
  afterAll(async () => {
    await main?.drop()
    await second?.stop()
  })
  const engine: Engine = {
    notes: mysqlNotes(),
    options: () => ({
      databaseUrl: main.url,
      adminDatabaseUrl: main.adminUrl,
      servers: { eu: { databaseUrl: eu.url, adminDatabaseUrl: eu.adminUrl } },
      migrations: migrationsIn('`'),
      drizzle: (client) => mysqlDrizzle({ client }),
    }),
    rowsAt: async (place, placement) => mysqlRows(place === 'main' ? main : eu, placement),
  }
  keepsApart(['schema', 'database', 'prefix'], engine)
  waitsFor({ ...engine, down: () => second.kill(), up: () => second.restart() })
  remembers({
    ...engine,
    options: () => ({ ...engine.options(), registrySchema: main.database.replace('shared', 'tenancy') }),
  })
  it('and nowhere else', async () => {
    const registry = main.database.replace('shared', 'tenancy')
    const find = ({ superUrl }: MysqlDatabase) => asRoot(superUrl, [`show databases like '${registry}'`])
    expect([await find(main), await find(eu)].map(({ length }) => length)).toEqual([1, 0])
    await asRoot(main.superUrl, [`drop database ${registry}`])
  })
})

describeWith(['mariadb'], 'tenants in two databases of one MariaDB server', ({ mariadb }) => {
  let main: MysqlDatabase
  let eu: MysqlDatabase
  beforeAll(async () => {
    ;[main, eu] = [await mysqlDatabase(mariadb.url), await mysqlDatabase(mariadb.url)]
  })
  afterAll(async () => void (await Promise.all([main?.drop(), eu?.drop()])))
  keepsApart(['prefix'], {
    notes: mysqlNotes(),
    options: () => ({
      databaseUrl: main.url,
      adminDatabaseUrl: main.adminUrl,
      servers: { eu: { databaseUrl: eu.url, adminDatabaseUrl: eu.adminUrl } },
      migrations: migrationsIn('`'),
      drizzle: (client) => mysqlDrizzle({ client }),
    }),
    rowsAt: async (place, placement) => mysqlRows(place === 'main' ? main : eu, placement),
  })
})

describe('tenants in two SQLite main files', () => {
  let round = 0
  keepsApart(['database', 'prefix', 'schema'], {
    notes: sqliteNotes(),
    options: () => ({
      databaseUrl: `file:${join(folder, `main-${++round}.db`)}`,
      servers: { eu: { databaseUrl: `file:${join(folder, `eu-${round}.db`)}` } },
      migrations: migrationsIn('`'),
      drizzle: (client) => libsqlDrizzle({ client }),
    }),
    rowsAt: async (place, placement) => sqliteRows(join(folder, `${place}-${round}.db`), placement),
  })
  remembers({
    notes: sqliteNotes(),
    options: () => ({
      databaseUrl: `file:${join(folder, 'kept-main.db')}`,
      servers: { eu: { databaseUrl: `file:${join(folder, 'kept-eu.db')}` } },
      migrations: migrationsIn('`'),
      drizzle: (client) => libsqlDrizzle({ client }),
    }),
  })
  const blocked = join(folder, 'blocked')
  waitsFor({
    notes: sqliteNotes(),
    options: () => ({
      databaseUrl: `file:${join(folder, 'beside.db')}`,
      servers: { eu: { databaseUrl: `file:${join(blocked, 'eu.db')}` } },
      migrations: migrationsIn('`'),
      drizzle: (client) => libsqlDrizzle({ client }),
    }),
    down: async () => writeFileSync(blocked, 'a file where a folder should be'),
    up: async () => rmSync(blocked),
  })
})

describe('tenants in two embedded PostgreSQL databases', () => {
  keepsApart(['schema'], {
    notes: postgresNotes(),
    options: () => ({
      databaseUrl: 'pglite:memory',
      servers: { eu: { databaseUrl: `pglite:${join(folder, 'eu')}` } },
      migrations: migrationsIn('"'),
      drizzle: (client) => pgliteDrizzle({ client }),
    }),
  })
})
