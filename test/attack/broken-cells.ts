import { join } from 'node:path'
import { createClient } from '@libsql/client'
import mysql from 'mysql2'
import pg from 'pg'
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
import { connect } from '../../src/dialects/sqlite/drivers/libsql-connection.ts'
import { createDatabaseFile } from '../../src/dialects/sqlite/drivers/libsql-file.ts'
import { createOwnFiles } from '../../src/dialects/sqlite/drivers/libsql-own-files.ts'
import type { LibsqlSession } from '../../src/dialects/sqlite/drivers/libsql-session.ts'
import { tenantClient } from '../../src/dialects/sqlite/drivers/libsql-tenant-client.ts'
import type { CreateLibsqlClient } from '../../src/dialects/sqlite/drivers/libsql-types.ts'
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

/** Opens one where a cell is: `place` is the URL of its serving account, or its folder. */
export type OpenBrokenCell = (place: string) => Promise<BrokenCell> | BrokenCell

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
        scopeText: (text) => scopeText(text, mysqlLayoutOf(scope, database).naming),
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
      return pgClient(pool, scope, { options, scopeText: (text) => scopeText(text, naming) })
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
export const sqliteFileOfTheFirst: OpenBrokenCell = (folder) => {
  const location = prepare(locationOf(`file:${join(folder, 'app.db')}`))
  const files = createOwnFiles({ createClient: libsql, location, timeoutMs: 10_000, maxOpenFiles: 20 })
  let first: Scope | undefined
  return {
    clientOf(scope) {
      first ??= scope
      const theirs = first
      return tenantClient(sqliteSession(() => files.lease(theirs), firstWritten(scope)))
    },
    close: () => files.close(0),
  }
}

/** Written texts are remembered by the text alone, where tenants share a file. */
export const sqliteTextOfTheFirst: OpenBrokenCell = (folder) => {
  const path = join(folder, 'app.db')
  const file = createDatabaseFile({ open: (purpose) => connect(libsql, path, purpose), timeoutMs: 10_000 })
  const written = new Map<string, string>()
  return {
    clientOf: (scope) =>
      tenantClient(sqliteSession(async () => ({ file, release() {} }), firstWritten(scope, written))),
    close: () => file.close(),
  }
}

const libsql = createClient as unknown as CreateLibsqlClient

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

function sqliteSession(lease: LibsqlSession['lease'], prepared: LibsqlSession['prepare']): LibsqlSession {
  return { lease, prepare: prepared, guard: open, onStatement: undefined }
}

function firstWritten(scope: Scope, written = new Map<string, string>()): LibsqlSession['prepare'] {
  return (text) => {
    const { kind, template } = readStatement(text)
    const known = written.get(text) ?? render(template, { tenant: sqliteLayoutOf(scope).naming })
    written.set(text, known)
    return { kind, text: known }
  }
}

function firstWins(scopeText: TextScoper): TextScoper {
  const written = new Map<string, string>()
  return (text, naming) => {
    const known = written.get(text) ?? scopeText(text, naming)
    written.set(text, known)
    return known
  }
}
