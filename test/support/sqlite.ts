import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drizzle, type LibSQLDatabase } from 'drizzle-orm/libsql'
import type { DatabaseServer, Guard } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { StrategyName } from '../../src/contracts/tenant.ts'
import { createBetterSqlite3Server } from '../../src/dialects/sqlite/drivers/better-sqlite3-server.ts'
import { createLibsqlServer } from '../../src/dialects/sqlite/drivers/libsql-server.ts'
import type { SqliteServerOptions } from '../../src/dialects/sqlite/server.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { migrationOf } from '../matrix/suite.ts'
import { open, placedScope } from './database.ts'

/** A server on files of its own. */
export interface SqliteServer {
  readonly server: DatabaseServer
  readonly folder: string
  readonly mainFile: string
  close(): Promise<void>
}

/** Opens a server in an empty folder, or in one that another server has. */
export async function openSqlite(
  options: Partial<SqliteServerOptions> = {},
  beside?: SqliteServer,
  createServer = createLibsqlServer,
): Promise<SqliteServer> {
  const folder = beside?.folder ?? realpathSync(mkdtempSync(join(tmpdir(), 'tenancy-sqlite-')))
  const mainFile = join(folder, 'app.db')
  const server = createServer({
    url: `file:${mainFile}`,
    tenantFolder: undefined,
    maxOpenFiles: 20,
    poolTimeout: 5,
    onStatement: undefined,
    ...options,
  })
  await server.open()
  return {
    server,
    folder,
    mainFile,
    async close() {
      await server.close()
      if (beside === undefined) rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** The same with better-sqlite3. */
export function openBetterSqlite3(
  options: Partial<SqliteServerOptions> = {},
  beside?: SqliteServer,
): Promise<SqliteServer> {
  return openSqlite(options, beside, createBetterSqlite3Server)
}

/** The file of a tenant that has its own. */
export function ownFile({ mainFile }: SqliteServer, { namespace }: Scope): string {
  return join(`${mainFile}.tenants`, `${namespace}.db`)
}

/** The scope of a new tenant. */
export function sqliteScope(strategy: StrategyName): Scope {
  return placedScope(namespaceStrategy(strategy as 'prefix'))
}

/** A new tenant with these statements run, as one migration. */
export async function newTenant(
  { server }: SqliteServer,
  strategy: StrategyName,
  statements: readonly string[],
): Promise<Scope> {
  const scope = sqliteScope(strategy)
  await migrateNamespace({ server, scope, migrations: [migrationOf(statements)] })
  return scope
}

/** Drizzle over a tenant's client. */
export function dbOf({ server }: SqliteServer, scope: Scope, guard: Guard = open): LibSQLDatabase {
  return drizzle({ client: server.client(scope, guard) as never })
}

/** What Drizzle is given, as this project's own tests use it. */
export interface RawClient {
  execute(statement: unknown, args?: unknown): Promise<{ rows: Record<string, unknown>[] }>
  batch(statements: readonly unknown[], mode?: string): Promise<{ rows: Record<string, unknown>[] }[]>
  migrate(statements: readonly unknown[]): Promise<unknown>
  transaction(mode?: string): Promise<RawTransaction>
}

/** The same for a transaction. */
export interface RawTransaction extends Pick<RawClient, 'execute' | 'batch'> {
  commit(): Promise<void>
  rollback(): Promise<void>
  close(): void
  readonly closed: boolean
}

/** The client that Drizzle would be given. */
export function rawClient({ server }: SqliteServer, scope: Scope, guard: Guard = open): RawClient {
  return server.client(scope, guard) as RawClient
}
