import type { Readable } from 'node:stream'
import type { AdminConnection } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { inTime } from '../../../util/in-time.ts'
import type { Lease } from './mysql-lease.ts'
import { lend, type Pool } from './mysql-pool.ts'
import { RowStream, type StreamOptions } from './mysql-row-stream.ts'
import { type MysqlQueryConfig, statementOf } from './mysql-statement.ts'
import { resultOf } from './mysql-tenant-connection.ts'
import { poolShaped } from './mysql-tenant-pool.ts'

type Query = AdminConnection['query']

/**
 * The unscoped way in.
 * @param patienceMs after which `query` fails, and its connection is cut; of a transaction BEGIN alone, because what follows may
 * wait for a lock. Default: never
 */
export function adminConnection(pool: Pool, patienceMs?: number): AdminConnection {
  return Object.freeze({
    client: poolShaped({
      query: (config, values) =>
        onLease(pool, async (lease) => resultOf(await lease.send(statementOf(config, values)))),
      getConnection: async () => heldConnection(await lend(pool)),
    }),
    query: <TRow>(text: string, parameters?: readonly unknown[]) =>
      onLease(pool, (lease) => queryOn(lease, patienceMs)<TRow>(text, parameters)),
    transaction: <T>(work: (query: Query) => Promise<T>) => inTransaction(pool, work, patienceMs),
  })
}

const silent = () => tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')

/** Runs `work` on a connection of its own. */
export async function onLease<T>(pool: Pool, work: (lease: Lease) => Promise<T>): Promise<T> {
  const lease = await lend(pool)
  // While nothing runs on it: the next statement tells.
  lease.watch(() => {})
  try {
    return await work(lease)
  } finally {
    lease.release()
  }
}

/**
 * `query` on one connection; a statement without rows gives none.
 * @param patienceMs after which it fails; who gives the lease back then cuts the connection. Default: never
 */
export function queryOn(lease: Lease, patienceMs?: number): Query {
  return async <TRow>(text: string, parameters?: readonly unknown[]) => {
    const sent = lease.send(statementOf(text, parameters))
    const { rows } = await (patienceMs === undefined ? sent : inTime(sent, patienceMs, silent))
    return (Array.isArray(rows) ? rows : []) as TRow[]
  }
}

/** One transaction on a connection of its own. */
export function inTransaction<T>(pool: Pool, work: (query: Query) => Promise<T>, patienceMs?: number): Promise<T> {
  return onLease(pool, async (lease) => {
    const query = queryOn(lease)
    await queryOn(lease, patienceMs)('begin')
    try {
      const result = await work(query)
      await query('commit')
      return result
    } catch (error) {
      await query('rollback').catch(() => {})
      throw error
    }
  })
}

function heldConnection(lease: Lease): object {
  const release = () => lease.release()
  // drizzle-orm 0.45 does not release a connection whose BEGIN failed.
  lease.watch(release)
  const query = async (config: string | MysqlQueryConfig, values?: readonly unknown[]) =>
    resultOf(await lease.send(statementOf(config, values)))
  const stream = (
    config: string | MysqlQueryConfig,
    values: readonly unknown[] | undefined,
    options: StreamOptions | undefined,
  ): Readable => {
    const rows = new RowStream(options)
    rows.follow(rows.pump(lease, statementOf(config, values), () => false))
    return rows.rows
  }
  const connection = Object.freeze({
    query: (config: string | MysqlQueryConfig, values?: readonly unknown[]) => ({
      stream: (options?: StreamOptions) => stream(config, values, options),
    }),
    on() {},
    off() {},
    end: release,
  })
  return Object.freeze({ query, execute: query, release, connection })
}
