import type { TenancyConfig } from './config.ts'
import type { DatabaseServer } from './contracts/dialect.ts'
import { createPgServer } from './dialects/postgres/drivers/pg-server.ts'
import { createPgliteServer } from './dialects/postgres/drivers/pglite-server.ts'
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
  return createPgServer({
    url,
    adminUrl: config.adminDatabaseUrl.reveal(),
    pooled: config.pooler === 'transaction',
    strategies: askedStrategies(config),
    poolSize: config.databasePoolSize,
    maxOverflow: config.databaseMaxOverflow,
    poolTimeout: config.databasePoolTimeout,
    poolRecycle: config.databasePoolRecycle,
    closeTimeout: config.closeTimeoutSeconds,
    registrySchema: config.registrySchema,
    shared: config,
    onStatement,
  })
}
