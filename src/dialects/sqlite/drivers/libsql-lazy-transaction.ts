import { currentContext } from '../../../context.ts'
import type { LazyTransaction } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { type LibsqlSession, type Prepared, refuseMigrations, statementsOn } from './libsql-session.ts'
import { beginTransaction, type OpenTransaction } from './libsql-transaction.ts'
import type { LibsqlResult } from './libsql-types.ts'

/**
 * One transaction for several statements of a request. It takes the writer at the first statement; a `db.transaction()`
 * on it becomes a savepoint.
 */
export function lazyTransaction(session: LibsqlSession): LazyTransaction {
  let opening: Promise<OpenTransaction> | undefined
  let finished = false
  let savepoints = 0
  /** Settles when the nested transactions before are over. */
  let turn: Promise<void> = Promise.resolve()

  const open = (): Promise<OpenTransaction> => {
    if (finished) return Promise.reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
    opening ??= beginTransaction(session, 'request')
    return opening
  }
  const run = async (statements: readonly Prepared[]): Promise<LibsqlResult[]> => {
    // A statement beside a nested transaction would be undone with it, after its caller was told that it is done.
    if (!isNested()) await turn
    return (await open()).run(statements)
  }
  const transaction = async (): Promise<object> => {
    session.guard()
    const before = isNested() ? undefined : turn
    let over = () => {}
    if (before !== undefined) turn = new Promise((resolve) => (over = resolve))
    try {
      await before
      return await savepoint(session, await open(), `tenancy_${++savepoints}`, over)
    } catch (error) {
      over()
      throw error
    }
  }
  const finish = async (how: 'commit' | 'rollback'): Promise<void> => {
    if (finished) return
    finished = true
    await (await opening)?.[how]()
  }

  return Object.freeze({
    client: Object.freeze({ ...statementsOn(session, run), transaction, migrate: refuseMigrations }),
    commit: () => finish('commit'),
    rollback: () => finish('rollback').catch(() => {}),
  })
}

/** Whether the caller is inside a nested transaction of the request, whose statements are part of it. */
function isNested(): boolean {
  return (currentContext()?.depth ?? 0) > 1
}

/** A nested transaction: its COMMIT and ROLLBACK speak of a savepoint. */
async function savepoint(
  session: LibsqlSession,
  outer: OpenTransaction,
  name: string,
  over: () => void,
): Promise<object> {
  await outer.control(`savepoint ${name}`)
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
