import { createSharedTransaction, type Nesting } from '../../../connections/shared-transaction.ts'
import { openTransactions } from '../../../context.ts'
import type { LazyTransaction } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { type FileSession, type Prepared, refuseMigrations, statementsOn } from './file-session.ts'
import { beginTransaction, type OpenTransaction } from './open-transaction.ts'
import type { SqliteResult } from './connection-types.ts'

/**
 * One transaction for several statements of a request. It takes the writer at the first statement; a `db.transaction()`
 * on it becomes a savepoint.
 */
export function lazyTransaction(session: FileSession, timeoutMs: number): LazyTransaction {
  const shared = createSharedTransaction<OpenTransaction>({
    depth: openTransactions,
    timeoutMs,
    begin: () => beginTransaction(session, 'request'),
    end: (transaction, how) => transaction[how](),
  })
  const run = async (statements: readonly Prepared[]): Promise<SqliteResult[]> =>
    (await shared.connection()).run(statements)
  const transaction = async (): Promise<object> => {
    session.guard()
    return savepoint(session, await shared.nest())
  }
  return Object.freeze({
    client: Object.freeze({ ...statementsOn(session, run), transaction, migrate: refuseMigrations }),
    commit: shared.commit,
    rollback: shared.rollback,
  })
}

/** A nested transaction: its COMMIT and ROLLBACK speak of a savepoint. */
async function savepoint(
  session: FileSession,
  { connection: outer, savepoint: name, begun, over }: Nesting<OpenTransaction>,
): Promise<object> {
  try {
    await outer.control(`savepoint ${name}`)
    begun()
  } catch (error) {
    over()
    throw error
  }
  let open = true
  const assertOpen = () => {
    if (!open) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
  }
  const end = async (...statements: readonly string[]): Promise<void> => {
    open = false
    try {
      for (const statement of statements) await outer.control(statement)
    } finally {
      over()
    }
  }
  const rollback = async (): Promise<void> => {
    // If this fails the whole transaction is lost, and its commit says so.
    if (open) await end(`rollback to savepoint ${name}`, `release savepoint ${name}`).catch(() => {})
  }
  return Object.freeze({
    ...statementsOn(session, async (statements) => {
      assertOpen()
      return outer.run(statements)
    }),
    async commit() {
      assertOpen()
      await end(`release savepoint ${name}`)
    },
    rollback,
    close: () => void rollback(),
    get closed() {
      return !open
    },
  })
}
