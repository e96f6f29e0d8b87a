import type { TenancyConfig } from './config.ts'
import type { DatabaseServer, RegistryDialect } from './contracts/dialect.ts'
import type { TenantStore } from './contracts/store.ts'
import { createDrizzlePostgresTenantStore } from './tenants/drizzle-postgres-store.ts'
import { createLockingTenantStore } from './tenants/locking-store.ts'
import { mssqlRegistry } from './tenants/mssql-registry.ts'
import { mysqlRegistry } from './tenants/mysql-registry.ts'
import { sqliteRegistry } from './tenants/sqlite-registry.ts'
import { parseUrl } from './util/secret.ts'

/**
 * The registry of tenants: the user's own, or one on the main server.
 * @throws TENANCY_ERR_CONFIG_INVALID for a `registrySchema` that this server cannot have
 */
export function configuredStore(
  config: Pick<TenancyConfig, 'tenantStore' | 'registrySchema' | 'maxTenants' | 'databaseUrl' | 'adminDatabaseUrl'>,
  { registry, drizzle }: Pick<DatabaseServer, 'registry' | 'drizzle'>,
): TenantStore {
  const { tenantStore, registrySchema, maxTenants, databaseUrl, adminDatabaseUrl } = config
  if (tenantStore !== undefined) return tenantStore
  const limits = {
    maxTenants,
    servingAccount: accountOf(databaseUrl.reveal()) === accountOf(adminDatabaseUrl.reveal()),
  }
  const { dialect, connection } = registry
  const stores: Record<RegistryDialect, () => TenantStore> = {
    postgres: () => createDrizzlePostgresTenantStore({ admin: connection, drizzle, schema: registrySchema, ...limits }),
    mysql: () => createLockingTenantStore(connection, mysqlRegistry(registrySchema), limits),
    mssql: () => createLockingTenantStore(connection, mssqlRegistry(registrySchema), limits),
    sqlite: () => createLockingTenantStore(connection, sqliteRegistry, limits),
  }
  return stores[dialect]()
}

function accountOf(url: string): string {
  return parseUrl(url)?.username ?? url
}
