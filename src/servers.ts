import type { TenancyConfig } from './config.ts'
import type { DatabaseServer } from './contracts/dialect.ts'
import { isFile, isMysql } from './config-schema.ts'
import { createMysqlServer } from './dialects/mysql/drivers/mysql-server.ts'
import { createPgServer } from './dialects/postgres/drivers/pg-server.ts'
import { createPgliteServer } from './dialects/postgres/drivers/pglite-server.ts'
import { createLibsqlServer } from './dialects/sqlite/drivers/libsql-server.ts'
import { askedStrategies } from './strategy.ts'

const EMBEDDED = 'pglite:'

/** The server that `databaseUrl` names, not opened yet. */
export function openServer(config: TenancyConfig, onStatement: ((text: string) => void) | undefined): DatabaseServer {
  const url = config.databaseUrl.reveal()
  if (url.startsWith(EMBEDDED)) {
    const folder = url.slice(EMBEDDED.length)
    return createPgliteServer({
      folder: folder === 'memory' ? undefined : folder,
      registrySchema: config.registrySchema,
      shared: config,
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
    onStatement,
  })
}
