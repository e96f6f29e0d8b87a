import { currentContext, type TenancyContext } from '../../../context.ts'
import { tenancyError } from '../../../errors.ts'
import { createMutex, type Mutex } from '../../../util/mutex.ts'
import { isBusy, statementFailure } from '../failure.ts'
import { begin, type Purpose, whenNotBusy } from './connection.ts'
import { keptConnections } from './kept-connections.ts'
import { FORGET_ROW_NUMBER } from './row-number.ts'
import type {
  SqliteConnection,
  TransactionMode,
  SqliteResult,
  SqliteStatement,
  SqliteTransaction,
} from './connection-types.ts'

/** For how long the writer is taken: one statement, one transaction, or one that lasts as long as its request. */
export type Span = 'statement' | 'transaction' | 'request'

/** A transaction under way. */
export interface Begun {
  readonly raw: SqliteTransaction
  commit(): Promise<void>
  /** Rolls back what was not committed, and sees to it that the next user finds a connection in order. Never throws. */
  end(): void
}

/**
 * One file with one connection that reads and one that writes: no two requests ever share a transaction, and who reads
 * need not wait for who writes. SQLite has one writer per file; who comes second waits here, in order of arrival, where a
 * wait in SQLite itself would hold up the whole process.
 */
export interface DatabaseFile {
  /** Runs statements that only read, in one snapshot. */
  read(statements: readonly SqliteStatement[]): Promise<SqliteResult[]>
  /**
   * Takes the writer until the returned function is called.
   * @throws TENANCY_ERR_POOL_TIMEOUT; TENANCY_ERR_STATEMENT_REFUSED when the caller would wait for itself
   */
  lock(span: Span): Promise<() => void>
  /**
   * Begins a transaction, for who has the lock: on the writer, or on a connection of its own with foreign keys off.
   * @param owner the namespace of the tenant whose it is
   */
  begin(purpose: 'write' | 'ddl', mode?: TransactionMode, owner?: string): Promise<Begun>
  /** Moves what was written into the file itself and closes the connections; whoever comes later opens them anew. */
  close(): Promise<void>
  /** Closes the connections of a file that is removed. */
  drop(): void
  readonly waiting: number
  /** Whether somebody has the writer. */
  readonly locked: boolean
  readonly timeoutMs: number
}

/** Options of {@link createDatabaseFile}. */
export interface DatabaseFileOptions {
  /** Opens a connection and makes sure that it leads to the right file. */
  readonly open: (purpose: Purpose) => Promise<SqliteConnection>
  /** Longest wait for the writer. */
  readonly timeoutMs: number
  /** Whether tenants share it. Default false. */
  readonly shared?: boolean
}

/** Whose transaction has the writer, and how deep in its request it began. */
interface Holder {
  readonly root: TenancyContext
  readonly depth: number
}

/** Makes a {@link DatabaseFile}; nothing is opened before it is needed. */
export function createDatabaseFile({ open, timeoutMs, shared = false }: DatabaseFileOptions): DatabaseFile {
  const mutex = createMutex(timeoutMs, () => tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs]))
  const connections = keptConnections(open)
  const readAll = (client: SqliteConnection, statements: readonly SqliteStatement[]) =>
    whenNotBusy(timeoutMs, () => client.batch(statements, 'deferred'))
  let holder: Holder | undefined
  let written = false
  let locked = false
  /** Who wrote last. */
  let lastOwner: string | undefined

  return Object.freeze({
    timeoutMs,

    // No promise more than it takes: each is a percent of a statement.
    async read(statements) {
      try {
        const client = connections.ready('read') ?? (await connections.get('read'))
        const [only] = statements
        if (only === undefined || statements.length > 1) return await readAll(client, statements)
        try {
          return [await client.execute(only)]
        } catch (error) {
          if (!isBusy(error)) throw error
          return await readAll(client, statements)
        }
      } catch (error) {
        throw statementFailure(error, timeoutMs)
      }
    },

    async lock(span) {
      const here = currentContext()
      if (holder !== undefined && here?.root === holder.root && here.depth > holder.depth) {
        throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [
          'a write beside the open transaction of this request, which it would wait for; use that transaction itself',
        ])
      }
      const release = await enter(mutex)
      locked = true
      if (here !== undefined && span !== 'statement') {
        holder = { root: here.root, depth: span === 'request' ? 0 : here.depth }
      }
      return () => {
        holder = undefined
        locked = false
        release()
      }
    },

    async begin(purpose, mode = 'write', owner?: string) {
      written = true
      const client = purpose === 'ddl' ? await open('ddl') : await connections.get('write')
      const discard = purpose === 'ddl' ? () => client.close() : () => connections.drop('write')
      let raw: SqliteTransaction
      try {
        raw = await begin(client, mode, timeoutMs)
        if (shared && purpose === 'write' && mode !== 'read' && owner !== lastOwner) {
          lastOwner = owner
          await raw.executeMultiple(FORGET_ROW_NUMBER)
        }
      } catch (error) {
        discard()
        throw statementFailure(error, timeoutMs)
      }
      // Where a COMMIT or ROLLBACK fails, libsql may put another connection in place, without our settings.
      let spent = purpose === 'ddl'
      return {
        raw,
        async commit() {
          try {
            await raw.commit()
          } catch (error) {
            spent = true
            throw statementFailure(error, timeoutMs)
          }
        },
        end() {
          try {
            raw.close()
          } catch {
            spent = true
          }
          if (spent) discard()
        },
      }
    },

    async close() {
      const writer = written ? await connections.get('write').catch(() => undefined) : undefined
      written = false
      // As SQLite does when the last connection is closed; libsql's are closed only when their statements are collected.
      await writer?.execute('pragma wal_checkpoint(truncate)').catch(() => {})
      connections.dropAll()
    },
    drop: connections.dropAll,

    get waiting() {
      return mutex.waiting
    },
    get locked() {
      return locked
    },
  } satisfies DatabaseFile)
}

/** Enters a mutex until the returned function is called. */
function enter(mutex: Mutex): Promise<() => void> {
  return new Promise((resolve, reject) => {
    mutex.run(() => new Promise<void>((leave) => resolve(leave))).catch(reject)
  })
}
