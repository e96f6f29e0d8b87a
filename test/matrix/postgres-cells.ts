import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePglite } from 'drizzle-orm/pglite'
import { Client } from 'pg'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { IsolationStrategy } from '../../src/contracts/isolation.ts'
import type { StrategyName } from '../../src/contracts/tenant.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { writtenStrategies } from '../../src/dialects/postgres/layout.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { isChaos } from '../attack/operation.ts'
import type { TestDatabase } from '../servers/database.ts'
import { baselineDatabase, sharedSchemas, testServer } from '../support/database.ts'
import { databaseHost } from '../support/tenant-databases.ts'
import type { Book, Cell, Db, OpenCell, RelationalDb, Runner } from './cell.ts'
import * as plain from './models/postgres.ts'
import * as shared from './models/postgres-rls.ts'
import { relationsOf } from './relations.ts'

/** A strategy with the options that change it. */
export interface PgVariant {
  readonly name: string
  readonly strategy: IsolationStrategy
  readonly options: { readonly tenantRoles?: boolean; readonly schemaScoping?: 'qualified' }
}

/** What PostgreSQL carries. */
export const pgVariants: readonly PgVariant[] = [
  pgVariant(namespaceStrategy('schema')),
  pgVariant(namespaceStrategy('schema'), { tenantRoles: true }),
  pgVariant(namespaceStrategy('schema'), { schemaScoping: 'qualified' }),
  pgVariant(rlsStrategy()),
  pgVariant(namespaceStrategy('prefix')),
  pgVariant(namespaceStrategy('database')),
]

/** What the embedded one carries: it is one database. */
export const pgliteVariants = pgVariants.filter(({ strategy }) => strategy.name !== 'database')

/** A strategy on a PostgreSQL server. */
export function pgCell(engine: string, superuserUrl: string, variant: PgVariant, poolSize = 2, poolTimeout = 10): Cell {
  const { strategy, options } = variant
  return cellOf(engine, variant, async () => {
    const database = await (strategy.name === 'database'
      ? databaseHost(superuserUrl)
      : baselineDatabase(superuserUrl, rightsFor(options)))
    const server = testServer(database, {
      poolSize,
      poolTimeout,
      maxTenantConnections: poolSize,
      strategies: [strategy.name as StrategyName],
      shared: { ...sharedSchemas, ...options },
    })
    await server.open()
    const killer = new Client({ connectionString: database.superUrl })
    await killer.connect()
    return {
      server,
      place: database.appUrl,
      over: (client, options) => drizzle({ client: client as never, ...options }),
      tooLong: (db) =>
        db.transaction(async (tx) => {
          await tx.execute(sql`set local statement_timeout = 50`)
          await tx.execute(sql`select pg_sleep(5)`)
        }),
      disturb: () => kill(killer, database),
      close: async () => {
        await killer.end()
        await server.close()
        await database.drop()
      },
    }
  })
}

/** A strategy on an embedded PGlite. */
export function pgliteCell(variant: PgVariant, poolTimeout = 60): Cell {
  return cellOf('PGlite', variant, async () => {
    const server = createPgliteServer({
      folder: undefined,
      registrySchema: 'tenancy',
      shared: { ...sharedSchemas, ...variant.options },
      poolTimeout,
      onStatement: undefined,
    })
    await server.open()
    return {
      server,
      over: (client, options) => drizzlePglite({ client: client as never, ...options }),
      close: () => server.close(),
    }
  })
}

const features = ['returning', 'update from', 'relational', 'relational one', 'isolation level'] as const

interface Opened {
  readonly server: DatabaseServer
  readonly place?: string
  readonly over: (client: object, options?: object) => unknown
  tooLong?(db: Db): Promise<unknown>
  disturb?(): Promise<boolean>
  close(): Promise<void>
}

/** A variant, named after what it is made of. */
export function pgVariant(strategy: IsolationStrategy, options: PgVariant['options'] = {}): PgVariant {
  const named = Object.entries(options).map(([key, value]) => (value === true ? key : value))
  return { name: [strategy.name, ...named].join(', '), strategy, options }
}

/** What the script of `fastify-tenancy roles` is told for these options. */
export function rightsFor({ tenantRoles = false, schemaScoping }: PgVariant['options']) {
  return { tenantRoles, qualified: schemaScoping === 'qualified' }
}

function cellOf(engine: string, { name, strategy, options }: PgVariant, openServer: () => Promise<Opened>): Cell {
  return {
    name: `${name} on ${engine}`,
    strategy,
    unqualified: writtenStrategies(options).has(strategy.name as StrategyName) ? 'nobody' : 'own',
    features: [...features, engine === 'PGlite' ? 'one connection' : 'lock'],
    open: async () => openCell(strategy, await openServer()),
  }
}

function openCell(strategy: IsolationStrategy, { server, over, ...rest }: Opened): OpenCell {
  const byRows = strategy.name === 'rls'
  const { authors, books, cheapBooks, statements } = (byRows ? shared : plain) as typeof plain
  // Adopted or not: in every other cell of PostgreSQL both work.
  adoptTables({ authors, books, cheapBooks })
  const target = byRows ? [shared.books.tenantId, shared.books.id] : [books.id]
  return {
    server,
    model: { authors, books, cheapBooks },
    statements,
    drizzle: (client) => over(client) as Db,
    relational: (client) => over(client, relationsOf({ authors, books, cheapBooks })) as RelationalDb,
    rows: async (db, query) => (await db.execute(query)).rows,
    upsert: (db: Runner, book: Book) =>
      db
        .insert(books)
        .values(book)
        .onConflictDoUpdate({ target: target as never, set: { title: book.title, price: book.price } }),
    isDisturbance: isChaos,
    ...rest,
  }
}

/** Cancels what runs, or ends a connection, of the serving role in any of its databases. */
async function kill(killer: Client, { appRole }: TestDatabase): Promise<boolean> {
  const verb = Math.random() < 0.4 ? 'pg_terminate_backend' : 'pg_cancel_backend'
  const prey = `select pid from pg_stat_activity where usename = $1 order by random() limit 1`
  const { rowCount } = await killer.query(`select ${verb}(pid) from (${prey}) prey`, [appRole])
  return rowCount === 1
}
