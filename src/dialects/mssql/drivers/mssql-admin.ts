import type { AdminConnection } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { inTime } from '../../../util/in-time.ts'
import type { Lease } from './mssql-lease.ts'
import { lend, type Pool } from './mssql-pool.ts'
import { createRequest, type RequestTarget } from './mssql-request.ts'
import type { RowStream } from './mssql-row-stream.ts'
import { runStream } from './mssql-run-stream.ts'
import { type MssqlStatement, statementOf } from './mssql-statement.ts'
import { poolShaped } from './mssql-tenant-pool.ts'
import type { TransactionMembers } from './mssql-tenant-transaction.ts'
import { READ_COMMITTED } from './mssql-types.ts'

type Query = AdminConnection['query']

/**
 * The unscoped way in.
 * @param patienceMs after which `query` fails, and its connection is cut; of a transaction BEGIN alone, because what follows may
 * wait for a lock. Default: never
 */
export function adminConnection(pool: Pool, patienceMs?: number): AdminConnection {
  const target = targetOf((work) => onLease(pool, work))
  return Object.freeze({
    client: poolShaped(
      () => createRequest(target),
      () => heldTransaction(pool),
    ),
    query: <TRow>(text: string, parameters?: readonly unknown[]) =>
      onLease(pool, (lease) => queryOn(lease, patienceMs)<TRow>(text, parameters)),
    transaction: <T>(work: (query: Query) => Promise<T>) =>
      onLease(pool, (lease) => inTransaction(lease, () => work(queryOn(lease)), patienceMs)),
  })
}

const soon = <T>(answer: Promise<T>, patienceMs: number | undefined): Promise<T> =>
  patienceMs === undefined ? answer : inTime(answer, patienceMs, () => tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE'))

/** Runs `work` on a connection of its own. */
export async function onLease<T>(pool: Pool, work: (lease: Lease) => Promise<T>): Promise<T> {
  const lease = await lend(pool)
  try {
    return await work(lease)
  } finally {
    lease.release()
  }
}

/**
 * `query` on one connection, with `@p0`, `@p1` …; a statement without rows gives none.
 * @param patienceMs after which it fails; who gives the lease back then cuts the connection. Default: never
 */
export function queryOn(lease: Lease, patienceMs?: number): Query {
  return async <TRow>(text: string, parameters?: readonly unknown[]) => {
    const { recordset = [] } = await soon(lease.send(statementOf(text, parameters)), patienceMs)
    return recordset as TRow[]
  }
}

/**
 * Runs `work` in one transaction.
 * @param patienceMs after which BEGIN fails. Default: never
 */
export async function inTransaction<T>(lease: Lease, work: () => Promise<T>, patienceMs?: number): Promise<T> {
  await soon(lease.begin(READ_COMMITTED), patienceMs)
  try {
    const result = await work()
    await lease.commit()
    return result
  } catch (error) {
    // After most errors the server has done so itself.
    if (lease.inTransaction) await lease.rollback().catch(() => {})
    throw error
  }
}

function targetOf(on: <T>(work: (lease: Lease) => Promise<T>) => Promise<T>): RequestTarget {
  return Object.freeze({
    query: (statement: MssqlStatement) => on((lease) => lease.send(statement)),
    stream: async (statement: MssqlStatement, rows: RowStream) => {
      try {
        await on((lease) => runStream(lease, statement, rows))
        rows.end()
      } catch (error) {
        rows.end(error)
      }
    },
  } satisfies RequestTarget)
}

function heldTransaction(pool: Pool): TransactionMembers {
  let lease: Lease | undefined
  const held = (): Lease => {
    if (lease === undefined) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    return lease
  }
  const end = async (order: (held: Lease) => Promise<void>) => {
    const ended = held()
    lease = undefined
    try {
      await order(ended)
    } finally {
      ended.release()
    }
  }
  const target = targetOf(async (work) => work(held()))
  return Object.freeze({
    async begin(isolationLevel = READ_COMMITTED) {
      const taken = await lend(pool)
      try {
        if (isolationLevel !== READ_COMMITTED) taken.taint()
        await taken.begin(isolationLevel)
        lease = taken
      } catch (error) {
        taken.release()
        throw error
      }
    },
    commit: () => end((ended) => ended.commit()),
    rollback: () => end((ended) => ended.rollback()),
    request: () => createRequest(target),
  })
}
