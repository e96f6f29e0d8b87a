import type { TenancyConfig } from './config.ts'
import type { AdminConnection, DatabaseServer, RegistryDialect } from './contracts/dialect.ts'
import type { TenantStore } from './contracts/store.ts'
import { createDrizzlePostgresTenantStore } from './tenants/drizzle-postgres-store.ts'
import { createLockingTenantStore } from './tenants/locking-store.ts'
import { mssqlRegistry } from './tenants/mssql-registry.ts'
import { mysqlRegistry } from './tenants/mysql-registry.ts'
import { sqliteRegistry } from './tenants/sqlite-registry.ts'
import { parseUrl } from './util/secret.ts'

type Config = Pick<TenancyConfig, 'tenantStore' | 'registrySchema' | 'maxTenants' | 'databaseUrl' | 'adminDatabaseUrl'>
type Server = Pick<DatabaseServer, 'registry' | 'drizzle'>

/**
 * The registry of tenants: the user's own, or one on the main server.
 * @throws TENANCY_ERR_CONFIG_INVALID for a `registrySchema` that this server cannot have
 */
export function configuredStore(config: Config, server: Server): TenantStore {
  return config.tenantStore ?? storeOn(server.registry.connection, config, server)
}

/** Equal for configurations that surely lead to one registry. */
export function registryIdentity({ tenantStore, registrySchema, databaseUrl }: Config): unknown {
  if (tenantStore !== undefined) return tenantStore
  const url = databaseUrl.reveal()
  return url === 'pglite:memory' ? Symbol(url) : `${url} ${registrySchema}`
}

/** The same registry over a connection that only news take; undefined where it has none. */
export function configuredNews(config: Config, server: Server): TenantStore | undefined {
  const { news } = server.registry
  return config.tenantStore !== undefined || news === undefined ? undefined : storeOn(news, config, server)
}

function storeOn(
  connection: AdminConnection,
  { registrySchema, maxTenants, databaseUrl, adminDatabaseUrl }: Config,
  { registry, drizzle }: Server,
): TenantStore {
  const limits = {
    maxTenants,
    servingAccount: accountOf(databaseUrl.reveal()) === accountOf(adminDatabaseUrl.reveal()),
  }
  const stores: Record<RegistryDialect, () => TenantStore> = {
    postgres: () => createDrizzlePostgresTenantStore({ admin: connection, drizzle, schema: registrySchema, ...limits }),
    mysql: () => createLockingTenantStore(connection, mysqlRegistry(registrySchema), limits),
    mssql: () => createLockingTenantStore(connection, mssqlRegistry(registrySchema), limits),
    sqlite: () => createLockingTenantStore(connection, sqliteRegistry, limits),
  }
  return stores[registry.dialect]()
}

function accountOf(url: string): string {
  return parseUrl(url)?.username ?? url
}
