import type { TenancyConfig } from './config.ts'
import type { DatabaseServer } from './contracts/dialect.ts'
import type { SharedTables } from './contracts/shared-tables.ts'
import { isFile, isMssql, isMysql } from './config-schema.ts'
import { createMssqlServer } from './dialects/mssql/drivers/mssql-server.ts'
import { createMysqlServer } from './dialects/mysql/drivers/mysql-server.ts'
import { createPgServer } from './dialects/postgres/drivers/pg-server.ts'
import { createPgliteServer } from './dialects/postgres/drivers/pglite-server.ts'
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

/** The server that `databaseUrl` names, not opened yet. */
function openServer(config: TenancyConfig, onStatement: ((text: string) => void) | undefined): DatabaseServer {
  const url = config.databaseUrl.reveal()
  const sharedTables = sharedTablesOf(config)
  if (url.startsWith(EMBEDDED)) {
    const folder = url.slice(EMBEDDED.length)
    return createPgliteServer({
      folder: folder === 'memory' ? undefined : folder,
      strategies: askedStrategies(config),
      registrySchema: config.registrySchema,
      shared: config,
      sharedTables,
      poolTimeout: config.databasePoolTimeout,
      onStatement,
    })
  }
  if (isMysql(url)) {
    return createMysqlServer({
      url,
      adminUrl: config.adminDatabaseUrl.reveal(),
      strategies: askedStrategies(config),
      poolSize: config.databasePoolSize,
      maxOverflow: config.databaseMaxOverflow,
      poolTimeout: config.databasePoolTimeout,
      poolRecycle: config.databasePoolRecycle,
      closeTimeout: config.closeTimeoutSeconds,
      sharedTables,
      registrySchema: config.registrySchema,
      onStatement,
    })
  }
  if (isMssql(url)) {
    return createMssqlServer({
      url,
      adminUrl: config.adminDatabaseUrl.reveal(),
      strategies: askedStrategies(config),
      shared: config,
      poolSize: config.databasePoolSize,
      maxOverflow: config.databaseMaxOverflow,
      poolTimeout: config.databasePoolTimeout,
      poolRecycle: config.databasePoolRecycle,
      closeTimeout: config.closeTimeoutSeconds,
      onStatement,
    })
  }
  if (isFile(url)) {
    return createLibsqlServer({
      url,
      tenantFolder: config.tenantFolder,
      maxOpenFiles: Math.max(1, Math.floor(config.databaseMaxTenantConnections / 2)),
      poolTimeout: config.databasePoolTimeout,
      closeTimeout: config.closeTimeoutSeconds,
      sharedTables,
      onStatement,
    })
  }
  return createPgServer({
    url,
    adminUrl: config.adminDatabaseUrl.reveal(),
    pooled: config.pooler === 'transaction',
    strategies: askedStrategies(config),
    poolSize: config.databasePoolSize,
    maxOverflow: config.databaseMaxOverflow,
    poolTimeout: config.databasePoolTimeout,
    poolRecycle: config.databasePoolRecycle,
    maxTenantConnections: config.databaseMaxTenantConnections,
    tenantPoolSize: config.databaseTenantPoolSize,
    databaseTemplate: config.databaseTemplate,
    closeTimeout: config.closeTimeoutSeconds,
    registrySchema: config.registrySchema,
    shared: config,
    sharedTables,
    onStatement,
  })
}

function sharedTablesOf(config: TenancyConfig): SharedTables | undefined {
  const { sharedTables: names, sharedWritable: writable, sharedSchema: schema, tenantColumn } = config
  return names.length === 0 ? undefined : { names, writable, schema, tenantColumn }
}
