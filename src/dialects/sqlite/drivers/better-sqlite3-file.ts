import { tenancyError } from '../../../errors.ts'
import { PRAGMAS } from '../files/connection.ts'
import type { DatabaseFile } from '../files/database-file.ts'
import type { Place } from '../files/place.ts'
import { FORGET_ROW_NUMBER, PREPARE_TO_FORGET } from '../files/row-number.ts'
import { isBusy, statementFailure } from '../failure.ts'
import { FIND_LEDGER, LEDGER } from '../ledger.ts'
import type { Door } from '../shared/read-only.ts'
import type { BetterDatabase, BetterDatabaseClass } from './better-sqlite3-types.ts'

/** Whose statement it is: a namespace, or undefined for the admin connection. */
type Owner = string | undefined

/** What a transaction is told beside its work. */
export interface TransactionOptions {
  readonly owner: Owner
  /** Throws when it must not be committed. */
  readonly mayCommit: () => void
  readonly door: Door | undefined
}

/**
 * A file with two more connections, for calls that are done when they return: one that reads and one that writes. Between two
 * calls nothing of theirs is ever open, so no request finds the transaction of another.
 */
export interface SyncFile extends DatabaseFile {
  /** Runs `work` on the connection that reads, or on that of the transaction around it. */
  readNow<T>(owner: Owner, work: (database: BetterDatabase) => T): T
  /**
   * Runs `work` on the connection that writes.
   * @throws TENANCY_ERR_POOL_TIMEOUT when somebody else is writing, TENANCY_ERR_STATEMENT_REFUSED inside the transaction of another tenant
   */
  writeNow<T>(owner: Owner, work: (database: BetterDatabase) => T): T
  /** Runs `work` in a transaction; inside of one of the same tenant, in a savepoint of it. Throws as {@link writeNow} does. */
  transactionNow<T>(options: TransactionOptions, work: () => T): T
  /** Whether a transaction of this owner is around the caller. */
  isInside(owner: Owner): boolean
}

/**
 * Milliseconds that a call may wait for another process, and with it everybody in this one. Nobody of this process is waited for: who is
 * in the way could not go on.
 */
const MAX_BUSY_MS = 100

/** Options of {@link createSyncFile}. */
export interface SyncFileOptions {
  readonly Database: BetterDatabaseClass
  readonly place: Place
  /** What it is for all that can wait. */
  readonly file: DatabaseFile
}

/** Makes a {@link SyncFile}; nothing is opened before it is needed. */
export function createSyncFile({ Database, place, file }: SyncFileOptions): SyncFile {
  const busyMs = Math.min(file.timeoutMs, MAX_BUSY_MS)
  const kept = keptDatabases((purpose) => open(Database, place, { purpose, timeout: busyMs }))
  /** The transaction around whatever is called now. */
  let current: { readonly owner: Owner; readonly database: BetterDatabase; savepoints: number } | undefined
  /** Who wrote last, where tenants share a file. */
  let lastOwner: Owner
  /** Whether the last write found another process writing: then nobody waits, until one does not. */
  let busy = false

  const attempt = <T>(work: () => T): T => {
    const waitedMs = busy ? 0 : busyMs
    try {
      return work()
    } catch (error) {
      throw statementFailure(error, waitedMs)
    }
  }
  /** Keeps many writers, one after the other, from holding up the process for as long as somebody else writes. */
  const patiently = <T>(database: BetterDatabase, work: () => T): T => {
    try {
      const result = work()
      if (busy) database.exec(`pragma busy_timeout = ${busyMs}`)
      busy = false
      return result
    } catch (error) {
      if (!busy && isBusy(error)) {
        database.exec('pragma busy_timeout = 0')
        busy = true
      }
      throw error
    }
  }
  const assertFree = (): void => {
    if (current !== undefined) {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a write inside the transaction of another tenant'])
    }
    if (file.locked) throw tenancyError('TENANCY_ERR_POOL_TIMEOUT', [0])
  }
  /** The connection of the transaction around the caller; undefined where there is none of this owner. */
  const around = (owner: Owner): BetterDatabase | undefined => {
    if (current === undefined || current.owner !== owner) return undefined
    // SQLite rolled it back by itself, as after INSERT OR ROLLBACK.
    if (!current.database.inTransaction) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    return current.database
  }
  const writer = (owner: Owner): BetterDatabase => {
    assertFree()
    return attempt(() => {
      const database = kept.get('write')
      if (place.assertOwn === undefined && owner !== lastOwner) database.exec(FORGET_ROW_NUMBER)
      lastOwner = owner
      return database
    })
  }

  function outermost<T>({ owner, mayCommit, door }: TransactionOptions, work: () => T): T {
    const database = writer(owner)
    attempt(() => patiently(database, () => database.exec('begin immediate')))
    current = { owner, database, savepoints: 0 }
    try {
      if (door !== undefined) database.exec(door.open)
      const result = work()
      if (!database.inTransaction) throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
      mayCommit()
      if (door !== undefined) database.exec(door.close)
      attempt(() => database.exec('commit'))
      return result
    } finally {
      current = undefined
      if (database.inTransaction) undo(database)
      // Whatever the admin did to it.
      if (owner === undefined) kept.drop('write')
    }
  }
  const undo = (database: BetterDatabase): void => {
    try {
      database.exec('rollback')
    } catch {
      kept.drop('write')
    }
  }

  function nested<T>(open: NonNullable<typeof current>, work: () => T): T {
    const { database } = open
    const name = `tenancy_${++open.savepoints}`
    attempt(() => database.exec(`savepoint ${name}`))
    try {
      const result = work()
      attempt(() => database.exec(`release ${name}`))
      return result
    } catch (error) {
      if (database.inTransaction) database.exec(`rollback to ${name}; release ${name}`)
      throw error
    }
  }

  const drop = (): void => {
    kept.dropAll()
    file.drop()
  }

  return Object.freeze({
    // Its getters are read when they are asked.
    get waiting() {
      return file.waiting
    },
    get locked() {
      return file.locked
    },
    timeoutMs: file.timeoutMs,
    read: file.read,
    lock: file.lock,
    begin: file.begin,
    // Who closes the last one moves what was written into the file itself.
    close: async () => drop(),
    drop,

    readNow(owner, work) {
      try {
        return work(around(owner) ?? kept.get('read'))
      } catch (error) {
        throw statementFailure(error, busyMs)
      }
    },
    writeNow(owner, work) {
      const inside = around(owner)
      if (inside !== undefined) return attempt(() => work(inside))
      const database = writer(owner)
      try {
        return attempt(() => patiently(database, () => work(database)))
      } finally {
        // No statement of a tenant begins one.
        if (database.inTransaction) undo(database)
      }
    },
    transactionNow(options, work) {
      return around(options.owner) === undefined || current === undefined
        ? outermost(options, work)
        : nested(current, work)
    },
    isInside: (owner) => around(owner) !== undefined,
  } satisfies SyncFile)
}

/** What a connection is opened with. */
interface Opening {
  readonly purpose: 'read' | 'write'
  readonly timeout: number
}

function open(Database: BetterDatabaseClass, place: Place, { purpose, timeout }: Opening): BetterDatabase {
  const lookAgain = place.look()
  const database = new Database(place.path, { fileMustExist: true, timeout })
  try {
    lookAgain()
    database.exec(PRAGMAS[purpose])
    if (place.assertOwn === undefined) {
      if (purpose === 'write') database.exec(PREPARE_TO_FORGET)
    } else {
      const found = database.prepare(FIND_LEDGER).get(LEDGER) as { sql?: unknown } | undefined
      place.assertOwn(found?.sql)
    }
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/** Connections by purpose, opened when they are needed. */
function keptDatabases(connect: (purpose: Opening['purpose']) => BetterDatabase) {
  const databases = new Map<Opening['purpose'], BetterDatabase>()
  const drop = (purpose: Opening['purpose']): void => {
    databases.get(purpose)?.close()
    databases.delete(purpose)
  }
  return {
    get(purpose: Opening['purpose']): BetterDatabase {
      const known = databases.get(purpose)
      if (known !== undefined) return known
      const opened = connect(purpose)
      databases.set(purpose, opened)
      return opened
    },
    drop,
    dropAll() {
      for (const purpose of databases.keys()) drop(purpose)
    },
  }
}
