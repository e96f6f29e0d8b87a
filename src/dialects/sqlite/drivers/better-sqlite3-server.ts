// oxlint-disable-next-line typescript/triple-slash-reference -- there is no package of types to import
/// <reference path="./better-sqlite3.d.ts" />
import { setTimeout as sleep } from 'node:timers/promises'
import type { DatabaseServer } from '../../../contracts/dialect.ts'
import { isTenancyError, tenancyError } from '../../../errors.ts'
import { loadPeer } from '../../../util/load-peer.ts'
import type { Outcome } from '../../../verification/canary.ts'
import { connectAt } from '../files/connection.ts'
import { createDatabaseFile } from '../files/database-file.ts'
import { createSqliteServer, type SqliteDriver, type SqliteServerOptions } from '../server.ts'
import { type SyncClient, syncClient } from './better-sqlite3-client.ts'
import { betterConnections } from './better-sqlite3-connection.ts'
import { createSyncFile, type SyncFile } from './better-sqlite3-file.ts'
import type { BetterDatabaseClass } from './better-sqlite3-types.ts'

/** Milliseconds that a verification waits for a writer, and between two attempts. */
const PATIENCE_MS = 5000
const PAUSE_MS = 10

/** SQLite through better-sqlite3. */
export const betterSqlite3Driver: SqliteDriver<SyncFile> = Object.freeze({
  drizzleImport: 'drizzle-orm/better-sqlite3',
  drizzleSession: 'BetterSQLiteSession',
  synchronous: true,
  async load() {
    const { default: loaded } = await loadPeer('better-sqlite3', () => import('better-sqlite3'))
    const { drizzle } = await loadPeer('drizzle-orm', () => import('drizzle-orm/better-sqlite3'))
    const Database = loaded as unknown as BetterDatabaseClass
    const openConnection = betterConnections(Database)
    return {
      openConnection,
      createFile(place, timeoutMs) {
        const open = (purpose: Parameters<typeof connectAt>[2]) => connectAt(openConnection, place, purpose, timeoutMs)
        return createSyncFile({ Database, place, file: createDatabaseFile({ open, timeoutMs }) })
      },
      drizzle: drizzle as unknown as (options: { client: object }) => unknown,
    }
  },
  client: syncClient,
  // It would be open while others are served, who cannot wait for it without stopping the process, and it too.
  lazyTransaction() {
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [
      'a transaction for a whole request, with better-sqlite3; use `transaction()`',
    ])
  },
  trial: {
    lazyTransaction: (session) =>
      Object.freeze({
        client: new Undone(syncClient(session)),
        commit: async () => {},
        rollback: async () => {},
      }),
    outcomeOn: (client, statements) =>
      whenNobodyWrites(() =>
        client instanceof Undone ? client.try(statements) : outcomeOf(client as SyncClient, statements),
      ),
  },
} satisfies SqliteDriver<SyncFile>)

/**
 * SQLite through better-sqlite3, on local files. Nothing is opened before `open()`; the library itself is loaded there. Every statement
 * is one call, and holds up the process for as long as it runs.
 */
export function createBetterSqlite3Server(options: SqliteServerOptions): DatabaseServer {
  return createSqliteServer(options, betterSqlite3Driver)
}

/** A verification can wait, outside of any call, for who is registering another tenant. */
async function whenNobodyWrites<T>(work: () => T): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    try {
      return work()
    } catch (error) {
      if (!isTenancyError(error, 'TENANCY_ERR_POOL_TIMEOUT') || performance.now() > deadline) throw error
      await sleep(PAUSE_MS)
    }
  }
}

/** Tries statements in a transaction that is undone in any case. */
class Undone {
  readonly #client: SyncClient

  constructor(client: SyncClient) {
    this.#client = client
  }

  try(statements: readonly string[]): Outcome {
    const end = Symbol('undo')
    let outcome: Outcome = 0
    try {
      this.#client.transaction(() => {
        outcome = outcomeOf(this.#client, statements)
        throw end as never
      })()
    } catch (error) {
      if (error !== end) throw error
    }
    return outcome
  }
}

function outcomeOf(client: SyncClient, statements: readonly string[]): Outcome {
  let last: Outcome = 0
  for (const text of statements) {
    const statement = client.prepare(text)
    last = /^\s*select\b/i.test(text) ? statement.all().length : statement.run().changes
  }
  return last
}
