import type { Guard } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { SyncClient } from '../../src/dialects/sqlite/drivers/better-sqlite3-client.ts'
import type { BetterDatabase, BetterDatabaseClass } from '../../src/dialects/sqlite/drivers/better-sqlite3-types.ts'
import { open } from './database.ts'
import { newTenant, ownFile, type SqliteServer } from './sqlite.ts'

/** What Drizzle is given for a tenant. */
export function clientOf({ server }: SqliteServer, scope: Scope, guard: Guard = open): SyncClient {
  return server.client(scope, guard) as SyncClient
}

export const TABLE = '"__tenant__"."notes"'

/** Two tenants of a strategy, with a table `notes`. */
export async function twoTenants(files: SqliteServer, strategy: 'database' | 'prefix'): Promise<[Scope, Scope]> {
  const statements = ['CREATE TABLE `notes` (`id` integer PRIMARY KEY, `text` text UNIQUE)']
  return [await newTenant(files, strategy, statements), await newTenant(files, strategy, statements)]
}

/** The texts of a tenant. */
export function textsOf(client: SyncClient): unknown[] {
  return client.prepare(`select text from ${TABLE} order by id`).raw().all().flat()
}

export function insert(client: SyncClient, text: string): unknown {
  return client.prepare(`insert into ${TABLE} (text) values (?)`).run(text)
}

/** Opens the file that a scope is in as another process would. */
export async function besides(files: SqliteServer, scope: Scope): Promise<BetterDatabase> {
  const Database = (await import('better-sqlite3')).default as BetterDatabaseClass
  const path = scope.strategy === 'database' ? ownFile(files, scope) : files.mainFile
  return new Database(path, { fileMustExist: true, timeout: 0 })
}

/** Milliseconds that a call takes, and with it the process. */
export function timed(work: () => unknown): number {
  const before = performance.now()
  work()
  return performance.now() - before
}
