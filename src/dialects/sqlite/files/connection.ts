import { setTimeout as sleep } from 'node:timers/promises'
import { isBusy } from '../failure.ts'
import { FIND_LEDGER, LEDGER } from '../ledger.ts'
import type { OpenConnection, SqliteConnection, TransactionMode, SqliteTransaction } from './connection-types.ts'
import type { Place } from './place.ts'
import { PREPARE_TO_FORGET } from './row-number.ts'

/**
 * What a connection is for:
 * - `read`: statements that only read, outside of any transaction; it writes nothing, whatever it is sent
 * - `write`: everything else, one user at a time
 * - `ddl`: one run of migrations. Foreign keys are off, or the DROP TABLE of a rebuilt table would cascade, and they cannot
 *   be switched inside a transaction. The run checks them itself in the end.
 */
export type Purpose = 'read' | 'write' | 'ddl'

/** SQLite waits inside of a call, and with it the whole process: milliseconds that it may. */
const BUSY_TIMEOUT_MS = 5
/** Milliseconds before we try again. */
const PAUSE_MS = 10

/** What a connection is set to. */
export const PRAGMAS: Readonly<Record<Purpose, string>> = {
  read: 'pragma query_only = on',
  write: 'pragma foreign_keys = on',
  ddl: 'pragma foreign_keys = off',
}

/** Opens one connection, which this folder lends to one user at a time. */
export async function connect(
  openConnection: OpenConnection,
  path: string,
  purpose: Purpose,
): Promise<SqliteConnection> {
  const client = openConnection(path)
  try {
    await client.execute(`pragma busy_timeout = ${BUSY_TIMEOUT_MS}`)
    await client.execute(PRAGMAS[purpose])
    return client
  } catch (error) {
    client.close()
    throw error
  }
}

/**
 * Opens one at a place and makes sure that it leads there. A run of migrations finds out itself whose the file is. While
 * another process recovers the log or closes its last connection, the file is busy for readers too: for `timeoutMs` at most.
 */
export function connectAt(
  openConnection: OpenConnection,
  place: Place,
  purpose: Purpose,
  timeoutMs: number,
): Promise<SqliteConnection> {
  return whenNotBusy(timeoutMs, () => connectNow(openConnection, place, purpose))
}

async function connectNow(openConnection: OpenConnection, place: Place, purpose: Purpose): Promise<SqliteConnection> {
  const lookAgain = place.look()
  const client = await connect(openConnection, place.path, purpose)
  try {
    lookAgain()
    if (purpose === 'write' && place.assertOwn === undefined) await client.execute(PREPARE_TO_FORGET)
    if (purpose !== 'ddl' && place.assertOwn !== undefined) {
      const { rows } = await client.execute({ sql: FIND_LEDGER, args: [LEDGER] })
      place.assertOwn((rows as readonly { sql?: unknown }[])[0]?.sql)
    }
    return client
  } catch (error) {
    client.close()
    throw error
  }
}

/**
 * Begins a transaction that has SQLite's write lock, unless it only reads; waits at most `timeoutMs` for other processes.
 *
 * Not by BEGIN IMMEDIATE: libsql keeps a statement that found the file busy until it is garbage-collected, and until then
 * no COMMIT of the connection succeeds. `executeMultiple` keeps none. The pragma takes the lock and changes nothing.
 */
export async function begin(
  client: SqliteConnection,
  mode: TransactionMode,
  timeoutMs: number,
): Promise<SqliteTransaction> {
  if (mode === 'read') return client.transaction('read')
  const transaction = await client.transaction('deferred')
  try {
    await whenNotBusy(timeoutMs, () => transaction.executeMultiple('pragma incremental_vacuum(1)'))
    return transaction
  } catch (error) {
    transaction.close()
    throw error
  }
}

/**
 * Makes a file's readers and its writer independent of each other; the file remembers it.
 * @returns whether the file system can do it
 */
export async function useWriteAheadLog(
  openConnection: OpenConnection,
  path: string,
  timeoutMs: number,
): Promise<boolean> {
  const client = await connect(openConnection, path, 'ddl')
  try {
    const { rows } = await whenNotBusy(timeoutMs, () => client.execute('pragma journal_mode = wal'))
    return (rows[0] as { journal_mode?: unknown } | undefined)?.journal_mode === 'wal'
  } finally {
    client.close()
  }
}

/** Tries for `timeoutMs` until nobody else is writing. What finds the file busy has done nothing. */
export async function whenNotBusy<T>(timeoutMs: number, work: () => Promise<T>): Promise<T> {
  let deadline: number | undefined
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!isBusy(error)) throw error
      deadline ??= performance.now() + timeoutMs
      if (performance.now() > deadline) throw error
      await sleep(PAUSE_MS)
    }
  }
}
