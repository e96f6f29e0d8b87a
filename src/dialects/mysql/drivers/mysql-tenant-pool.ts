import { tenancyError } from '../../../errors.ts'
import { type StatementKind, statementKind } from '../statement-kind.ts'
import type { Pool } from './mysql-pool.ts'
import { type MysqlQueryConfig, statementOf } from './mysql-statement.ts'
import {
  refuse,
  type Result,
  resultOf,
  taints,
  TenantConnection,
  type TenantSession,
} from './mysql-tenant-connection.ts'
import type { MysqlStatement } from './mysql-types.ts'

/** What {@link poolShaped} takes. */
export interface PoolMembers {
  query(config: string | MysqlQueryConfig, values?: readonly unknown[]): Promise<Result>
  getConnection(): Promise<object>
}

/**
 * What Drizzle takes for a pool of mysql2's promises: confined to one tenant for ever, over the pool that all tenants
 * share. No field of that one can be reached through it.
 */
export function tenantPool(pool: Pool, session: TenantSession): object {
  return poolShaped({
    query: (config, values) => run(pool, session, config, values),
    getConnection: () => connectTenant(pool, session),
  })
}

/** An object with these members that passes for a pool; Drizzle decides by `getConnection`. It cannot be ended. */
export function poolShaped({ query, getConnection }: PoolMembers): object {
  const end = () =>
    Promise.reject(tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the shared pool ends with the app, not by hand']))
  return Object.freeze({ query, execute: query, getConnection, end })
}

/** Takes a connection for one tenant. */
export function connectTenant(pool: Pool, session: TenantSession): Promise<TenantConnection> {
  return new Promise((resolve, reject) => {
    session.guard()
    pool.checkout((failure, lease) => {
      // In the callback, not after an await: a connection that dies in between would find nobody listening.
      if (lease === undefined) reject(failure)
      else resolve(new TenantConnection(lease, session))
    })
  })
}

/** One statement on the shared pool: a connection for just as long. */
async function run(
  pool: Pool,
  session: TenantSession,
  config: string | MysqlQueryConfig,
  values?: readonly unknown[],
): Promise<Result> {
  session.guard()
  const given = statementOf(config, values)
  const kind = statementKind(given.sql)
  refuse(kind)
  if (kind.kind !== 'plain' && kind.kind !== 'procedure') {
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['transaction control on a pool; use `transaction()`'])
  }
  const statement = { ...given, sql: session.scopeText(given.sql) }
  session.onStatement?.(statement.sql)
  return send(pool, session, kind, statement)
}

function send(pool: Pool, session: TenantSession, kind: StatementKind, statement: MysqlStatement): Promise<Result> {
  return new Promise((resolve, reject) => {
    pool.checkout((failure, lease) => {
      if (lease === undefined) {
        reject(failure)
        return
      }
      try {
        // The wait for a connection may have been long enough for the tenant to be suspended.
        session.guard('send')
      } catch (error) {
        lease.release()
        reject(error)
        return
      }
      if (taints(kind)) lease.taint()
      lease
        .send(statement)
        .finally(() => lease.release())
        .then((answer) => resolve(resultOf(answer)), reject)
    })
  })
}
