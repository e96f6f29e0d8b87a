import { pathToFileURL } from 'node:url'
import type { DatabaseServer } from '../../../contracts/dialect.ts'
import { loadPeer } from '../../../util/load-peer.ts'
import { asyncClient } from '../files/async-client.ts'
import { connectAt } from '../files/connection.ts'
import type { OpenConnection, SqliteConnection } from '../files/connection-types.ts'
import { createDatabaseFile, type DatabaseFile } from '../files/database-file.ts'
import { lazyTransaction } from '../files/lazy-transaction.ts'
import { createSqliteServer, type SqliteDriver, type SqliteServerOptions } from '../server.ts'
import { outcomeOn } from '../verify/outcome.ts'

/** `createClient` of `@libsql/client` with the options that are used here. Tested with 0.18. */
export type CreateLibsqlClient = (options: { readonly url: string; readonly concurrency: number }) => SqliteConnection

/**
 * A client of libsql keeps a pool, whose connections have none of our settings and go to whoever comes: with
 * `concurrency: 1` it is one connection.
 */
export function libsqlConnections(createClient: CreateLibsqlClient): OpenConnection {
  return (path) => createClient({ url: pathToFileURL(path).href, concurrency: 1 })
}

const OTHER_DRIVER = ", or set `sqliteDriver: 'better-sqlite3'`"

const driver: SqliteDriver<DatabaseFile> = Object.freeze({
  drizzleImport: 'drizzle-orm/libsql',
  drizzleSession: 'LibSQLSession',
  async load() {
    const libsql = await loadPeer('@libsql/client', () => import('@libsql/client'), OTHER_DRIVER)
    const { drizzle } = await loadPeer('drizzle-orm', () => import('drizzle-orm/libsql'))
    const openConnection = libsqlConnections(libsql.createClient as unknown as CreateLibsqlClient)
    return {
      openConnection,
      createFile: (place, timeoutMs) =>
        createDatabaseFile({
          open: (purpose) => connectAt(openConnection, place, purpose, timeoutMs),
          timeoutMs,
          shared: place.assertOwn === undefined,
        }),
      drizzle: drizzle as unknown as (options: { client: object }) => unknown,
    }
  },
  client: asyncClient,
  lazyTransaction,
  trial: { lazyTransaction, outcomeOn },
} satisfies SqliteDriver<DatabaseFile>)

/**
 * SQLite through libsql, on local files. Nothing is opened before `open()`; libsql itself is loaded there. It works in this
 * thread, so every statement holds up the process for as long as it runs.
 */
export function createLibsqlServer(options: SqliteServerOptions): DatabaseServer {
  return createSqliteServer(options, driver)
}
