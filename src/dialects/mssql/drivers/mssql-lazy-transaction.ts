import { currentContext } from '../../../context.ts'
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
export function lazyTransaction(pool: Pool, session: TenantSession): LazyTransaction {
  let opening: Promise<TenantTransaction> | undefined
  let finished = false
  let savepoints = 0
  /** Settles when the nested transactions before are over. */
  let turn: Promise<void> = Promise.resolve()

  const open = (): Promise<TenantTransaction> => {
    if (finished) return Promise.reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
    opening ??= begin(pool, session)
    return opening
  }
  const target: RequestTarget = Object.freeze({
    query: async (statement: MssqlStatement) => {
      refuseControl(statement)
      // A statement beside a nested transaction would be undone with it, after its caller was told that it is done.
      if (!isNested()) await turn
      return (await open()).target.query(statement)
    },
    stream: async (statement: MssqlStatement, rows: RowStream) => {
      try {
        if (!isNested()) await turn
        await (await open()).target.stream(statement, rows)
      } catch (error) {
        rows.end(error)
      }
    },
  } satisfies RequestTarget)
  const nest = async (): Promise<Nesting> => {
    const before = isNested() ? undefined : turn
    let over = () => {}
    if (before !== undefined) turn = new Promise((resolve) => (over = resolve))
    try {
      await before
      return { target: (await open()).target, savepoint: `tenancy_${++savepoints}`, over }
    } catch (error) {
      over()
      throw error
    }
  }
  const finish = async (end: 'commit' | 'rollback'): Promise<void> => {
    if (finished) return
    finished = true
    if (opening !== undefined) await (await opening)[end]()
  }

  return Object.freeze({
    client: poolShaped(
      () => createRequest(target),
      () => nestedTransaction(nest),
    ),
    commit: () => finish('commit'),
    rollback: () => finish('rollback').catch(() => {}),
  })
}

/** Whether the caller is inside a nested transaction of the request, whose statements are part of it. */
function isNested(): boolean {
  return (currentContext()?.depth ?? 0) > 1
}

async function begin(pool: Pool, session: TenantSession): Promise<TenantTransaction> {
  const transaction = new TenantTransaction(pool, session)
  await transaction.begin()
  return transaction
}

/** Drizzle sends savepoints of its own only below a transaction of its own. */
function refuseControl({ text }: MssqlStatement): void {
  const { kind } = statementKind(text)
  if (kind === 'plain' || kind === 'refused') return
  throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the transaction of a request is committed by the library'])
}

/** A place inside the transaction of the request, while it is this nested one's turn. */
interface Nesting {
  readonly target: RequestTarget
  readonly savepoint: string
  /** Lets the next one have its turn. */
  over(): void
}

/** The transaction of the request for one nested transaction: its begin and rollback speak of a savepoint. */
function nestedTransaction(nest: () => Promise<Nesting>): TransactionMembers {
  let nesting: Nesting | undefined
  let begun = false
  const opened = (): Nesting => {
    if (nesting === undefined) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    return nesting
  }
  const leave = (): Nesting | undefined => {
    const ended = nesting
    nesting = undefined
    return ended
  }
  const target: RequestTarget = Object.freeze({
    query: async (statement: MssqlStatement) => opened().target.query(statement),
    stream: async (statement: MssqlStatement, rows: RowStream) => {
      if (nesting === undefined) rows.end(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
      else await nesting.target.stream(statement, rows)
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
        await entered.target.query({ text: `save transaction ${entered.savepoint}`, parameters: [] })
      } catch (error) {
        entered.over()
        throw error
      }
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
        await ended.target.query({ text: `rollback transaction ${ended.savepoint}`, parameters: [] })
      } finally {
        ended.over()
      }
    },
    request: () => createRequest(target),
  })
}
