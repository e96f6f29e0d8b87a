import type { TenancyConfig } from './config.ts'
import type { DatabaseServer } from './contracts/dialect.ts'
import type { SharedTables } from './contracts/shared-tables.ts'
import { type DatabaseKind, databaseKind } from './database-url.ts'
import { createMssqlServer } from './dialects/mssql/drivers/mssql-server.ts'
import { createMysqlServer } from './dialects/mysql/drivers/mysql-server.ts'
import { createPgServer } from './dialects/postgres/drivers/pg-server.ts'
import { createPgliteServer } from './dialects/postgres/drivers/pglite-server.ts'
import { createBetterSqlite3Server } from './dialects/sqlite/drivers/better-sqlite3-server.ts'
import { createLibsqlServer } from './dialects/sqlite/drivers/libsql-server.ts'
import { patientServer } from './patient-server.ts'
import { routeToServers, type ServerRouter } from './server-router.ts'
import { sharingServer } from './shared-tables.ts'
import { askedStrategies } from './strategy.ts'

const EMBEDDED = 'pglite:'

/** How servers talk to the log. */
export interface ServerLog {
  readonly onStatement: ((text: string) => void) | undefined
  readonly warn: (sentence: string) => void
}

/**
 * The servers of the configuration as one, not opened yet.
 * @throws TENANCY_ERR_CONFIG_INVALID when one of them carries less than `main`
 */
export function configuredServers(config: TenancyConfig, { onStatement, warn }: ServerLog): ServerRouter {
  const sharing = (server: DatabaseServer) => sharingServer(server, config.sharedMigrations)
  const others = Object.entries(config.servers).map(([name, server]) => {
    const opened = sharing(openServer({ ...config, ...server, tenantFolder: undefined }, onStatement))
    return [name, patientServer(opened, { name, warn })] as const
  })
  const main = sharing(openServer(config, onStatement))
  return routeToServers({ main, others: new Map(others), strategies: askedStrategies(config) })
}

/** What every server is told. */
function commonOptions(config: TenancyConfig, onStatement: ServerLog['onStatement']) {
  return {
    url: config.databaseUrl.reveal(),
    poolTimeout: config.databasePoolTimeout,
    closeTimeout: config.closeTimeoutSeconds,
    onStatement,
  }
}

/** What every server with accounts and pools is told. */
function pooledOptions(config: TenancyConfig, onStatement: ServerLog['onStatement']) {
  return {
    ...commonOptions(config, onStatement),
    adminUrl: config.adminDatabaseUrl.reveal(),
    strategies: askedStrategies(config),
    poolSize: config.databasePoolSize,
    maxOverflow: config.databaseMaxOverflow,
    poolRecycle: config.databasePoolRecycle,
  }
}

/** How files of SQLite are opened. */
const sqliteDrivers = { libsql: createLibsqlServer, 'better-sqlite3': createBetterSqlite3Server } as const

/** How a server of each kind is made. Nothing is opened yet. */
const servers: Record<DatabaseKind, (config: TenancyConfig, onStatement: ServerLog['onStatement']) => DatabaseServer> =
  {
    postgres: (config, onStatement) =>
      createPgServer({
        ...pooledOptions(config, onStatement),
        pooled: config.pooler === 'transaction',
        maxTenantConnections: config.databaseMaxTenantConnections,
        tenantPoolSize: config.databaseTenantPoolSize,
        databaseTemplate: config.databaseTemplate,
        registrySchema: config.registrySchema,
        shared: config,
        sharedTables: sharedTablesOf(config),
      }),
    pglite: (config, onStatement) => {
      const { url, ...options } = commonOptions(config, onStatement)
      const folder = url.slice(EMBEDDED.length)
      return createPgliteServer({
        ...options,
        folder: folder === 'memory' ? undefined : folder,
        strategies: askedStrategies(config),
        registrySchema: config.registrySchema,
        shared: config,
        sharedTables: sharedTablesOf(config),
      })
    },
    mysql: (config, onStatement) =>
      createMysqlServer({
        ...pooledOptions(config, onStatement),
        registrySchema: config.registrySchema,
        sharedTables: sharedTablesOf(config),
      }),
    mssql: (config, onStatement) =>
      createMssqlServer({
        ...pooledOptions(config, onStatement),
        registrySchema: config.registrySchema,
        shared: config,
        sharedTables: sharedTablesOf(config),
      }),
    sqlite: (config, onStatement) =>
      sqliteDrivers[config.sqliteDriver]({
        ...commonOptions(config, onStatement),
        tenantFolder: config.tenantFolder,
        maxOpenFiles: Math.max(1, Math.floor(config.databaseMaxTenantConnections / 2)),
        sharedTables: sharedTablesOf(config),
      }),
  }

function openServer(config: TenancyConfig, onStatement: ServerLog['onStatement']): DatabaseServer {
  return servers[databaseKind(config.databaseUrl.reveal())](config, onStatement)
}

function sharedTablesOf(config: TenancyConfig): SharedTables | undefined {
  const { sharedTables: names, sharedWritable: writable, sharedSchema: schema, tenantColumn } = config
  return names.length === 0 ? undefined : { names, writable, schema, tenantColumn }
}
