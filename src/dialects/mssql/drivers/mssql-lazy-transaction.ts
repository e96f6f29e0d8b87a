import { createSharedTransaction, type Nesting } from '../../../connections/shared-transaction.ts'
import { openTransactions } from '../../../context.ts'
import type { LazyTransaction } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { statementKind } from '../statement-kind.ts'
import type { Pool } from './mssql-pool.ts'
import { createRequest, type RequestTarget } from './mssql-request.ts'
import type { RowStream } from './mssql-row-stream.ts'
import type { MssqlStatement } from './mssql-statement.ts'
import { poolShaped } from './mssql-tenant-pool.ts'
import type { TenantSession } from './mssql-tenant-session.ts'
import { TenantTransaction, type TransactionMembers } from './mssql-tenant-transaction.ts'

/**
 * One transaction for several statements of a request. It takes a connection at the first statement; a
 * `db.transaction()` on it becomes a savepoint.
 */
export function lazyTransaction(pool: Pool, session: TenantSession, timeoutMs: number): LazyTransaction {
  const shared = createSharedTransaction<TenantTransaction>({
    depth: openTransactions,
    timeoutMs,
    async begin() {
      const transaction = new TenantTransaction(pool, session)
      await transaction.begin()
      return transaction
    },
    end: (transaction, how) => transaction[how](),
  })
  const target: RequestTarget = Object.freeze({
    query: async (statement: MssqlStatement) => {
      refuseControl(statement)
      return (await shared.connection()).target.query(statement)
    },
    stream: async (statement: MssqlStatement, rows: RowStream) => {
      try {
        await (await shared.connection()).target.stream(statement, rows)
      } catch (error) {
        rows.end(error)
      }
    },
  } satisfies RequestTarget)

  return Object.freeze({
    client: poolShaped(
      () => createRequest(target),
      () => nestedTransaction(shared.nest),
    ),
    commit: shared.commit,
    rollback: shared.rollback,
  })
}

/** Drizzle sends savepoints of its own only below a transaction of its own. */
function refuseControl({ text }: MssqlStatement): void {
  const { kind } = statementKind(text)
  if (kind === 'plain' || kind === 'refused') return
  throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the transaction of a request is committed by the library'])
}

/** The transaction of the request for one nested transaction: its begin and rollback speak of a savepoint. */
function nestedTransaction(nest: () => Promise<Nesting<TenantTransaction>>): TransactionMembers {
  let nesting: Nesting<TenantTransaction> | undefined
  let begun = false
  const opened = (): Nesting<TenantTransaction> => {
    if (nesting === undefined) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    return nesting
  }
  const leave = (): Nesting<TenantTransaction> | undefined => {
    const ended = nesting
    nesting = undefined
    return ended
  }
  const target: RequestTarget = Object.freeze({
    query: async (statement: MssqlStatement) => opened().connection.target.query(statement),
    stream: async (statement: MssqlStatement, rows: RowStream) => {
      if (nesting === undefined) rows.end(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
      else await nesting.connection.target.stream(statement, rows)
    },
  } satisfies RequestTarget)
  return Object.freeze({
    async begin(isolationLevel?: number) {
      if (begun || isolationLevel !== undefined) {
        throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a nested transaction takes no options'])
      }
      begun = true
      const entered = await nest()
      try {
        await entered.connection.target.query({ text: `save transaction ${entered.savepoint}`, parameters: [] })
      } catch (error) {
        entered.over()
        throw error
      }
      entered.begun()
      nesting = entered
    },
    async commit() {
      // A savepoint is not released; it is gone with the transaction.
      opened().over()
      leave()
    },
    async rollback() {
      const ended = leave()
      if (ended === undefined) return
      try {
        await ended.connection.target.query({ text: `rollback transaction ${ended.savepoint}`, parameters: [] })
      } finally {
        ended.over()
      }
    },
    request: () => createRequest(target),
  })
}
