import { join } from 'node:path'
import { createClient } from '@libsql/client'
import mysql from 'mysql2'
import pg from 'pg'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { openPool } from '../../src/dialects/mysql/drivers/mysql-pool.ts'
import { tenantPool as mysqlTenantPool } from '../../src/dialects/mysql/drivers/mysql-tenant-pool.ts'
import type { MysqlModule } from '../../src/dialects/mysql/drivers/mysql-types.ts'
import { parseMysqlUrl } from '../../src/dialects/mysql/drivers/mysql-url.ts'
import { layoutOf as mysqlLayoutOf } from '../../src/dialects/mysql/layout.ts'
import { mysqlProfile } from '../../src/dialects/mysql/profile.ts'
import { type ConnectionSource, openPool as openPgPool } from '../../src/dialects/postgres/drivers/pg-pool.ts'
import { scopedQueries, silentScope, wireScope } from '../../src/dialects/postgres/drivers/pg-scoped-query.ts'
import { openTenantDatabases } from '../../src/dialects/postgres/drivers/pg-tenant-databases.ts'
import { tenantPool as pgTenantPool } from '../../src/dialects/postgres/drivers/pg-tenant-pool.ts'
import type { PgModule } from '../../src/dialects/postgres/drivers/pg-types.ts'
import { type LayoutOptions, layoutOf as pgLayoutOf } from '../../src/dialects/postgres/layout.ts'
import { postgresProfile } from '../../src/dialects/postgres/profile.ts'
import { scopeSql } from '../../src/dialects/postgres/scope-sql.ts'
import { syncClient, type SyncSession } from '../../src/dialects/sqlite/drivers/better-sqlite3-client.ts'
import { betterConnections } from '../../src/dialects/sqlite/drivers/better-sqlite3-connection.ts'
import { createSyncFile, type SyncFile } from '../../src/dialects/sqlite/drivers/better-sqlite3-file.ts'
import type { BetterDatabaseClass } from '../../src/dialects/sqlite/drivers/better-sqlite3-types.ts'
import { type CreateLibsqlClient, libsqlConnections } from '../../src/dialects/sqlite/drivers/libsql-server.ts'
import { asyncClient } from '../../src/dialects/sqlite/files/async-client.ts'
import { connectAt } from '../../src/dialects/sqlite/files/connection.ts'
import { createDatabaseFile, type DatabaseFile } from '../../src/dialects/sqlite/files/database-file.ts'
import type { FileSession } from '../../src/dialects/sqlite/files/file-session.ts'
import { createOwnFiles, type OwnFiles } from '../../src/dialects/sqlite/files/own-files.ts'
import { type Place, sharedPlace } from '../../src/dialects/sqlite/files/place.ts'
import { layoutOf as sqliteLayoutOf } from '../../src/dialects/sqlite/layout.ts'
import { locationOf, prepare } from '../../src/dialects/sqlite/location.ts'
import { readStatement } from '../../src/dialects/sqlite/statement.ts'
import { render } from '../../src/dialects/sqlite/template.ts'
import { createTextScoper, type TextScoper } from '../../src/sql/scoped-text.ts'
import { open, sharedSchemas } from '../support/database.ts'

/** The parts of the product, put together in a wrong way. */
export interface BrokenCell {
  /** Hands out what Drizzle gets for a tenant. */
  clientOf(scope: Scope): object
  close(): Promise<void>
}

/** Opens one where a cell is: `place` is the URL of its serving account, or its folder; `server` is what is right there. */
export type OpenBrokenCell = (place: string, server: DatabaseServer) => Promise<BrokenCell> | BrokenCell

const pgModule = pg as unknown as PgModule

/** Written texts are remembered by the text alone: all get the names of whoever sent it first. */
export const mysqlTextOfTheFirst: OpenBrokenCell = (url) => {
  const { address, database } = parseMysqlUrl(url)
  const options = { address, keep: 5, max: 5, timeoutMs: 10_000, recycleMs: 3_600_000 }
  const pool = openPool(mysql as unknown as MysqlModule, options)
  const scopeText = firstWins(createTextScoper(mysqlProfile))
  return {
    clientOf: (scope) =>
      mysqlTenantPool(pool, {
        guard: open,
        scopeText: scopeText(mysqlLayoutOf(scope, database).naming),
        onStatement: undefined,
      }),
    close: () => pool.end(0),
  }
}

/** The same on PostgreSQL, for a prefix. */
export const pgTextOfTheFirst: OpenBrokenCell = (url) => textOfTheFirst(url, sharedSchemas)

/** The same for schemas whose names are written out. */
export const pgQualifierOfTheFirst: OpenBrokenCell = (url) =>
  textOfTheFirst(url, { ...sharedSchemas, schemaScoping: 'qualified' })

function textOfTheFirst(url: string, options: LayoutOptions): BrokenCell {
  const pool = openPgPool(pgModule, 10_000, { connectionString: url, max: 5, maxLifetimeSeconds: 3600 })
  const scopeText = firstWins(createTextScoper(postgresProfile))
  return {
    clientOf(scope) {
      const { naming } = pgLayoutOf(scope, options)
      return pgClient(pool, scope, { options, scopeText: scopeText(naming) })
    },
    close: () => pool.end(0),
  }
}

/** A scope that is made once and taken for all: for a schema, or rows told apart by policies. */
export const pgScopeOfTheFirst: OpenBrokenCell = (url) => scopeOfTheFirst(url, sharedSchemas)

/** The same with its role. */
export const pgRoleOfTheFirst: OpenBrokenCell = (url) => scopeOfTheFirst(url, { ...sharedSchemas, tenantRoles: true })

function scopeOfTheFirst(url: string, options: LayoutOptions): BrokenCell {
  const pool = openPgPool(pgModule, 10_000, { connectionString: url, max: 5, maxLifetimeSeconds: 3600 })
  let first: Scope | undefined
  return { clientOf: (scope) => pgClient(pool, (first ??= scope), { options }), close: () => pool.end(0) }
}

/** What an embedded database hands out is made once and taken for all. */
export const pgliteClientOfTheFirst: OpenBrokenCell = (_place, server) => {
  let first: Scope | undefined
  return { clientOf: (scope) => server.client((first ??= scope), open), close: async () => {} }
}

/** Connections are kept under one key, with the path of the database that they lead to: sent, or given at their start. */
export const pgDatabaseOfTheFirst: OpenBrokenCell = (url) => databaseOfTheFirst(url, 'bare')

/** The same where nothing looks at where a connection leads. */
export const pgConnectionOfTheFirst: OpenBrokenCell = (url) => databaseOfTheFirst(url, 'serving')

function databaseOfTheFirst(url: string, source: 'bare' | 'serving'): BrokenCell {
  const databases = openTenantDatabases(pgModule, {
    url,
    adminUrl: url,
    path: (namespace) => pgLayoutOf({ strategy: 'database', namespace }, sharedSchemas).searchPath,
    maxConnections: 5,
    perTenant: 5,
    timeoutMs: 10_000,
    maxLifetimeSeconds: 3600,
  })
  let first: Scope | undefined
  return {
    clientOf(scope) {
      first ??= scope
      return pgClient(databases[source](first.namespace), first, { silent: source === 'serving' })
    },
    close: () => databases.end(0),
  }
}

/** One file is opened and lent to all. */
export const sqliteFileOfTheFirst: OpenBrokenCell = (folder) =>
  fileOfTheFirst(ownFiles(folder, libsql, createLibsqlFile), asyncClient)

/** Written texts are remembered by the text alone, where tenants share a file. */
export const sqliteTextOfTheFirst: OpenBrokenCell = (folder) => {
  const file = createLibsqlFile(sharedPlace(join(folder, 'app.db')))
  return sqliteText(file, asyncClient)
}

/** The same two with better-sqlite3. */
export const betterFileOfTheFirst: OpenBrokenCell = async (folder) => {
  const better = await betterSqlite3()
  return fileOfTheFirst(ownFiles(folder, better.openConnection, better.createFile), syncClient)
}

export const betterTextOfTheFirst: OpenBrokenCell = async (folder) => {
  const file = (await betterSqlite3()).createFile(sharedPlace(join(folder, 'app.db')))
  return sqliteText(file, syncClient)
}

const TIMEOUT = { timeoutMs: 10_000 }
const libsql = libsqlConnections(createClient as unknown as CreateLibsqlClient)
const createLibsqlFile = (place: Place) =>
  createDatabaseFile({ open: (purpose) => connectAt(libsql, place, purpose, TIMEOUT.timeoutMs), ...TIMEOUT })

async function betterSqlite3() {
  const Database = (await import('better-sqlite3')).default as BetterDatabaseClass
  const openConnection = betterConnections(Database)
  const createFile = (place: Place): SyncFile => {
    const file = createDatabaseFile({
      open: (purpose) => connectAt(openConnection, place, purpose, TIMEOUT.timeoutMs),
      ...TIMEOUT,
    })
    return createSyncFile({ Database, place, file })
  }
  return { openConnection, createFile }
}

function ownFiles<F extends DatabaseFile>(
  folder: string,
  openConnection: typeof libsql,
  createFile: (place: Place) => F,
): OwnFiles<F> {
  const location = prepare(locationOf(`file:${join(folder, 'app.db')}`))
  return createOwnFiles({ openConnection, createFile, location, ...TIMEOUT, maxOpenFiles: 20 })
}

function fileOfTheFirst<F extends DatabaseFile>(
  files: OwnFiles<F>,
  client: (session: FileSession<F>) => object,
): BrokenCell {
  let first: Scope | undefined
  return {
    clientOf(scope) {
      first ??= scope
      const theirs = first
      return client({
        ...sqliteSession(scope),
        lease: () => files.lease(theirs),
        leaseNow: () => files.leaseNow(theirs),
        fileNow: () => files.fileNow(theirs),
      })
    },
    close: () => files.close(0),
  }
}

function sqliteText<F extends DatabaseFile>(file: F, client: (session: FileSession<F>) => object): BrokenCell {
  const written = new Map<string, string>()
  const lease = () => ({ file, release() {} })
  return {
    clientOf: (scope) => client({ ...sqliteSession(scope, written), lease, leaseNow: lease, fileNow: () => file }),
    close: () => file.close(),
  }
}

interface PgClientOptions {
  readonly options?: LayoutOptions
  readonly scopeText?: (text: string) => string
  readonly silent?: boolean
}

function pgClient(
  source: ConnectionSource,
  scope: Scope,
  {
    options = sharedSchemas,
    scopeText = (text) => text,
    silent = options.schemaScoping === 'qualified',
  }: PgClientOptions = {},
): object {
  const layout = pgLayoutOf(scope, options)
  return pgTenantPool(source, {
    queries: scopedQueries(pgModule),
    scope: silent ? silentScope : wireScope(pgModule, scopeSql(scope, layout)),
    scopeText,
    guard: open,
    pooled: false,
    sharesTables: false,
    onStatement: undefined,
  })
}

function sqliteSession(
  scope: Scope,
  written = new Map<string, string>(),
): Omit<SyncSession, 'lease' | 'leaseNow' | 'fileNow'> {
  const { namespace } = scope
  return { namespace, prepare: firstWritten(scope, written), guard: open, onStatement: undefined }
}

function firstWritten(scope: Scope, written: Map<string, string>): SyncSession['prepare'] {
  return (text) => {
    const { kind, template } = readStatement(text)
    const known = written.get(text) ?? render(template, { tenant: sqliteLayoutOf(scope).naming })
    written.set(text, known)
    return { kind, text: known }
  }
}

function firstWins(scopeText: TextScoper): TextScoper {
  const written = new Map<string, string>()
  return (naming) => (text) => {
    const known = written.get(text) ?? scopeText(naming)(text)
    written.set(text, known)
    return known
  }
}
