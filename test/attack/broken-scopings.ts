import pg, { escapeIdentifier } from 'pg'
import { checkoutFrom, type ConnectionSource } from '../../src/dialects/postgres/drivers/pg-pool.ts'
import { scopedQueries, type WireScope, wireScope } from '../../src/dialects/postgres/drivers/pg-scoped-query.ts'
import { poolShaped, tenantPool } from '../../src/dialects/postgres/drivers/pg-tenant-pool.ts'
import type { PgModule, PgPool } from '../../src/dialects/postgres/drivers/pg-types.ts'
import { layoutOf } from '../../src/dialects/postgres/layout.ts'
import { scopeSql } from '../../src/dialects/postgres/scope-sql.ts'
import type { TestDatabase } from '../servers/database.ts'
import { open, sharedSchemas } from '../support/database.ts'
import { type Attacked, barePool, scopedTarget, type Target } from './target.ts'

/** Builds a scoping that is wrong on purpose. The attack must find out, or it proves nothing. */
export type BrokenScoping = (database: TestDatabase, url: string, poolSize: number) => Promise<Target> | Target

const module = pg as unknown as PgModule

const setSession = ({ scope }: Attacked) =>
  `set search_path to ${layoutOf(scope, sharedSchemas)
    .searchPath.map((name) => escapeIdentifier(name))
    .join(', ')}`

/** SET at every checkout, never reset: what the next one finds is the last tenant's. */
export const sessionWithoutReset: BrokenScoping = (_database, url, poolSize) => {
  const pool = barePool(url, poolSize)
  return {
    pool,
    close: () => pool.end(),
    clientOf: (tenant) =>
      driverShaped(async () => {
        const client = await pool.connect()
        await client.query(setSession(tenant))
        return client
      }),
  }
}

/** SET on whatever connection comes first, the statement on another: nestjs-multitenant's fault. */
export const setOnOneConnection: BrokenScoping = (_database, url, poolSize) => {
  const pool = barePool(url, poolSize)
  return {
    pool,
    close: () => pool.end(),
    clientOf: (tenant) =>
      driverShaped(async () => {
        await pool.query(setSession(tenant))
        return pool.connect()
      }),
  }
}

/** The tenant of whoever asked last, read when the connection is there: Nile's fault. The scope itself is the product's. */
export const lastUsedContext: BrokenScoping = async (database, url, poolSize) => {
  const target = await scopedTarget(database, url, poolSize)
  let current: Attacked | undefined
  const clients = new Map<Attacked, pg.Pool>()
  const ofCurrent = async (tenant: Attacked): Promise<pg.Pool> => {
    current = tenant
    await new Promise(setImmediate)
    const known = clients.get(current) ?? (target.clientOf(current) as pg.Pool)
    clients.set(current, known)
    return known
  }
  const clientOf = (tenant: Attacked) => driverShaped(async () => (await ofCurrent(tenant)).connect())
  return { ...target, clientOf }
}

/** Our own scope with `is_local = false` and SET for SET LOCAL. */
export const scopeThatStays: BrokenScoping = (_database, url, poolSize) => {
  const pool = barePool(url, poolSize)
  const queries = scopedQueries(module)
  const staying = ({ scope }: Attacked): WireScope => {
    const { text, values, set, again } = scopeSql(scope, layoutOf(scope, sharedSchemas))
    return wireScope(module, {
      text: text.replaceAll(',true)', ',false)'),
      values,
      setLocal: set,
      set,
      again,
    })
  }
  const source: ConnectionSource = {
    pg: module,
    checkout: (ready) => checkoutFrom(pool as unknown as PgPool, 10_000, ready),
  }
  return {
    pool,
    close: () => pool.end(),
    clientOf: (tenant) =>
      tenantPool(source, {
        queries,
        scope: staying(tenant),
        scopeText: (text) => text,
        guard: open,
        pooled: false,
        sharesTables: false,
        onStatement: undefined,
      }),
  }
}

/** `query` and `connect` over a checkout, as the product hands them to Drizzle. */
function driverShaped(checkOut: () => Promise<pg.PoolClient>): object {
  const query = async ({ text, values, rowMode, types }: pg.QueryArrayConfig, more?: unknown[]) => {
    const client = await checkOut()
    try {
      return await client.query({ text, values: more ?? values, rowMode, types } as pg.QueryConfig)
    } finally {
      client.release()
    }
  }
  const connect = (callback?: (error: Error | undefined, client?: pg.PoolClient, release?: () => void) => void) => {
    const client = checkOut()
    if (callback === undefined) return client
    client.then(
      (value) => callback(undefined, value, () => value.release()),
      (error: unknown) => callback(error as Error),
    )
    return undefined
  }
  return poolShaped(module, { query, connect })
}
