import { eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { Pool, type PoolConfig, type QueryConfig } from 'pg'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { TestDatabase } from '../servers/database.ts'
import { layoutOf } from '../../src/dialects/postgres/layout.ts'
import { open, sharedSchemas } from '../support/database.ts'
import { at, notes, notesIn } from './notes.ts'
import { createPgServer } from './product.ts'

/** One way to read a note of a tenant. */
export interface Way {
  readonly name: string
  /** Reads row `id` of the tenant with this number. */
  read(tenant: number, id: number): Promise<readonly Note[]>
  close(): Promise<void>
}

/** How the database is reached, and who takes turns. */
export interface Setting {
  readonly database: TestDatabase
  /** As the serving role; may lead through a proxy. */
  readonly url: string
  readonly scopes: readonly Scope[]
}

type Note = typeof notes.$inferSelect

/** Connections of every pool that tenants share. */
const POOL_SIZE = 10

/** Without tenancy: a plain pool, the tenant's table by its full name. */
export async function plain(name: string, { url, scopes }: Setting): Promise<Way> {
  const pool = plainPool({ connectionString: url })
  const database = drizzle({ client: pool })
  const tables = scopes.map(({ namespace }) => notesIn(namespace))
  return {
    name,
    read: (tenant, id) => {
      const table = at(tables, tenant)
      return database.select().from(table).where(eq(table.id, id))
    },
    close: () => pool.end(),
  }
}

/** The product: the scope travels in the flush of the statement. */
export async function oneFlush(name: string, { database, url, scopes }: Setting): Promise<Way> {
  const server = createPgServer({
    url,
    adminUrl: database.adminUrl,
    pooled: false,
    strategies: ['schema'],
    poolSize: POOL_SIZE,
    maxOverflow: 0,
    poolTimeout: 10,
    poolRecycle: 3600,
    registrySchema: 'tenancy',
    shared: sharedSchemas,
    onStatement: undefined,
  })
  await server.open()
  const databases = scopes.map((scope) => drizzle({ client: server.client(scope, open) as Pool }))
  return {
    name,
    read: (tenant, id) => at(databases, tenant).select().from(notes).where(eq(notes.id, id)),
    close: () => server.close(),
  }
}

/** BEGIN, set_config, the query, COMMIT: Drizzle's own transaction, four network turns. */
export async function transaction(name: string, { url, scopes }: Setting): Promise<Way> {
  const pool = plainPool({ connectionString: url })
  const database = drizzle({ client: pool })
  const paths = scopes.map(pathOf)
  return {
    name,
    read: (tenant, id) =>
      database.transaction(async (tx) => {
        await tx.execute(sql`select set_config('search_path', ${at(paths, tenant)}, true)`)
        return tx.select().from(notes).where(eq(notes.id, id))
      }),
    close: () => pool.end(),
  }
}

/**
 * The same four statements sent without waiting in between, by pg's `pipeline`. It fails open: the statement runs without
 * its scope when BEGIN or set_config fail.
 */
export async function pipeline(name: string, { url, scopes }: Setting): Promise<Way> {
  const pool = plainPool({ connectionString: url, pipeline: true })
  const databases = scopes.map((scope) => {
    const setConfig = { text: 'select set_config($1, $2, true)', values: ['search_path', pathOf(scope)] }
    // Drizzle sends a little after it is asked to: the four are put together where its statement arrives.
    const query = async (config: QueryConfig, values: unknown[]) => {
      const client = await pool.connect()
      try {
        const sent = [client.query('begin'), client.query(setConfig), client.query(config, values)] as const
        const [, , result] = await Promise.all([...sent, client.query('commit')])
        return result
      } finally {
        client.release()
      }
    }
    return drizzle({ client: { query } as unknown as Pool })
  })
  return {
    name,
    read: (tenant, id) => at(databases, tenant).select().from(notes).where(eq(notes.id, id)),
    close: () => pool.end(),
  }
}

/** A pool for each tenant, whose connections start in the tenant's schema: as many backends as tenants. */
export async function poolPerTenant(name: string, { url, scopes }: Setting): Promise<Way> {
  const pools = scopes.map(({ namespace }) =>
    plainPool({ connectionString: url, max: 1, min: 1, options: `-c search_path=${namespace}` }),
  )
  const databases = pools.map((client) => drizzle({ client }))
  return {
    name,
    read: (tenant, id) => at(databases, tenant).select().from(notes).where(eq(notes.id, id)),
    close: async () => {
      await Promise.all(pools.map((pool) => pool.end()))
    },
  }
}

/** With `min` no connection is closed for being idle, as in the product's pool. */
function plainPool(config: PoolConfig): Pool {
  return new Pool({ max: POOL_SIZE, min: POOL_SIZE, ...config })
}

function pathOf(scope: Scope): string {
  return layoutOf(scope, sharedSchemas)
    .searchPath.map((schema) => `"${schema}"`)
    .join(', ')
}
