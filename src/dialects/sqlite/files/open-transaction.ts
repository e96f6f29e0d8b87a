import { tenancyError } from '../../../errors.ts'
import { statementFailure } from '../failure.ts'
import type { Door } from '../shared/read-only.ts'
import type { Begun, DatabaseFile, Span } from './database-file.ts'
import { type FileSession, type Prepared, send, statementsOn } from './file-session.ts'
import type { TransactionMode, SqliteResult } from './connection-types.ts'

/** An open transaction of a tenant. Whatever ends it gives back writer and file. */
export interface OpenTransaction {
  /** What Drizzle takes for a transaction of libsql. */
  readonly client: object
  /** Sends statements that were handed over before. */
  run(statements: readonly Prepared[]): Promise<SqliteResult[]>
  /** A statement of our own, such as a savepoint. */
  control(sql: string): Promise<void>
  /** @throws TENANCY_ERR_TRANSACTION_FINISHED, TENANCY_ERR_TRANSACTION_ROLLED_BACK */
  commit(): Promise<void>
  /** Idempotent; never throws. */
  rollback(): Promise<void>
}

/** A transaction may do nothing for so many times the wait of others, and longer while nobody waits. */
const PATIENCE = 2

const MODES: ReadonlySet<unknown> = new Set<TransactionMode>(['write', 'read', 'deferred'])

/**
 * Opens a transaction on the writer of the session's file. Every one takes the writer, also one that only reads: nobody
 * can tell before its end.
 * @throws TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_STATEMENT_REFUSED
 */
export async function beginTransaction(
  session: FileSession,
  span: Span,
  mode: unknown = 'write',
): Promise<OpenTransaction> {
  if (!MODES.has(mode)) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['an unknown kind of transaction'])
  const { file, release } = await session.lease()
  let unlock = () => {}
  try {
    unlock = await file.lock(span)
    session.guard('send')
    const begun = await file.begin('write', mode as TransactionMode, session.namespace)
    const door = mode === 'read' ? undefined : session.door?.()
    return openTransaction(session, file, door === undefined ? begun : await opening(begun, door), () => {
      unlock()
      release()
    })
  } catch (error) {
    unlock()
    release()
    throw error
  }
}

/** The door is shut again in the transaction itself: nobody else ever sees it open. */
async function opening(begun: Begun, { open, close }: Door): Promise<Begun> {
  try {
    await begun.raw.execute({ sql: open })
  } catch (error) {
    begun.end()
    throw error
  }
  return {
    ...begun,
    async commit() {
      await begun.raw.execute({ sql: close })
      await begun.commit()
    },
  }
}

/** `lost`: SQLite rolled it back by itself, as after INSERT OR ROLLBACK. */
type State = 'open' | 'lost' | 'finished'

function openTransaction(
  session: FileSession,
  file: DatabaseFile,
  { raw, commit: commitRaw, end: endRaw }: Begun,
  giveBack: () => void,
): OpenTransaction {
  let state: State = 'open'
  const end = (how: Exclude<State, 'open'>) => {
    if (state !== 'open') return
    state = how
    clearTimeout(idle)
    endRaw()
    giveBack()
  }
  // Whoever forgot about it, or hangs, must not keep the writer from all others for ever.
  const idle = setTimeout(() => {
    if (file.waiting > 0) end('finished')
    else idle.refresh()
  }, file.timeoutMs * PATIENCE).unref()
  const assertOpen = () => {
    if (state !== 'open') throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    idle.refresh()
  }
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    assertOpen()
    try {
      return await work()
    } catch (error) {
      throw statementFailure(error, file.timeoutMs)
    } finally {
      if (raw.closed) end('lost')
    }
  }
  const run = async (statements: readonly Prepared[]): Promise<SqliteResult[]> => {
    const results: SqliteResult[] = []
    for (const statement of statements) {
      results.push(await attempt(() => send(session, [statement], () => raw.execute(statement))))
    }
    return results
  }
  const commit = async (): Promise<void> => {
    if (state === 'lost') {
      state = 'finished'
      throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
    }
    assertOpen()
    try {
      // COMMIT is a statement too: what a tenant did that is no longer served does not land.
      session.guard('send')
      await commitRaw()
    } finally {
      end('finished')
    }
  }
  const rollback = async (): Promise<void> => end('finished')

  return Object.freeze({
    client: Object.freeze({
      ...statementsOn(session, run),
      commit,
      rollback,
      close: () => end('finished'),
      get closed() {
        return state !== 'open'
      },
    }),
    run,
    commit,
    rollback,
    control: (sql: string) => attempt(async () => void (await raw.execute({ sql }))),
  } satisfies OpenTransaction)
}
