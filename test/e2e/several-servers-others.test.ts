import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@libsql/client'
import { drizzle as libsqlDrizzle } from 'drizzle-orm/libsql'
import { int, mysqlTable, varchar } from 'drizzle-orm/mysql-core'
import { drizzle as mysqlDrizzle } from 'drizzle-orm/mysql2'
import { integer as pgInteger, pgTable, text as pgText } from 'drizzle-orm/pg-core'
import { drizzle as pgliteDrizzle } from 'drizzle-orm/pglite'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
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

/** The builders of all databases have the same shape where they are used here. */
type Db = ReturnType<typeof libsqlDrizzle>

type Place = 'main' | 'eu'

interface Engine {
  readonly notes: object
  readonly options: () => TenancyOptions
  /** How many rows of this tenant are at a place, asked past the product; undefined where it cannot be. */
  readonly rowsAt?: (place: Place, placement: Placement) => Promise<number>
}

const folder = mkdtempSync(join(tmpdir(), 'tenancy-servers-'))
const migrationsIn = (quote: string) => {
  const copy = join(folder, quote === '"' ? 'double' : 'back')
  mkdirSync(join(copy, 'meta'), { recursive: true })
  writeFileSync(join(copy, 'meta/_journal.json'), '{"entries":[{"tag":"0000_notes","when":1}]}')
  writeFileSync(
    join(copy, '0000_notes.sql'),
    `CREATE TABLE "notes" ("id" integer NOT NULL, "body" varchar(200) NOT NULL);`.replaceAll('"', quote),
  )
  return copy
}
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const db = () => getTenantDb() as Db

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
  const notes = mysqlTable('notes', { id: int('id').notNull(), body: varchar('body', { length: 200 }).notNull() })
  const engine: Engine = {
    notes,
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
})

describeWith(['mariadb'], 'tenants in two databases of one MariaDB server', ({ mariadb }) => {
  let main: MysqlDatabase
  let eu: MysqlDatabase
  beforeAll(async () => {
    ;[main, eu] = [await mysqlDatabase(mariadb.url), await mysqlDatabase(mariadb.url)]
  })
  afterAll(async () => void (await Promise.all([main?.drop(), eu?.drop()])))
  const notes = mysqlTable('notes', { id: int('id').notNull(), body: varchar('body', { length: 200 }).notNull() })
  keepsApart(['prefix'], {
    notes,
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

/** What the superuser finds: the tenant's own database, or its tables in the shared one. */
async function mysqlRows({ superUrl, database }: MysqlDatabase, { strategy, namespace }: Placement): Promise<number> {
  const [schema, table] = strategy === 'prefix' ? [database, `${namespace}__notes`] : [namespace, 'notes']
  const found = await asRoot<{ rows: number }>(superUrl, [
    `select count(*) as \`rows\` from \`${schema}\`.\`${table}\``,
  ]).catch((error: { code?: string }) => {
    if (error.code !== 'ER_NO_SUCH_TABLE' && error.code !== 'ER_BAD_DB_ERROR') throw error
    return []
  })
  return found[0]?.rows ?? 0
}

/** What another connection finds in the files. */
async function sqliteRows(mainFile: string, { strategy, namespace }: Placement): Promise<number> {
  const own = strategy === 'database'
  const file = own ? join(`${mainFile}.tenants`, `${namespace}.db`) : mainFile
  if (!existsSync(file)) return 0
  const client = createClient({ url: `file:${file}` })
  try {
    const table = own ? 'notes' : `${namespace}__notes`
    const { rows } = await client.execute({ sql: 'select name from sqlite_master where name = ?', args: [table] })
    if (rows.length === 0) return 0
    return Number((await client.execute(`select count(*) as n from "${table}"`)).rows[0]?.['n'])
  } finally {
    client.close()
  }
}

function sqliteNotes() {
  return sqliteTable('notes', { id: integer('id').notNull(), body: text('body').notNull() })
}

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
  const notes = pgTable('notes', { id: pgInteger('id').notNull(), body: pgText('body').notNull() })
  keepsApart(['schema'], {
    notes,
    options: () => ({
      databaseUrl: 'pglite:memory',
      servers: { eu: { databaseUrl: `pglite:${join(folder, 'eu')}` } },
      migrations: migrationsIn('"'),
      drizzle: (client) => pgliteDrizzle({ client }),
    }),
  })
})
