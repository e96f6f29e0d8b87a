import type { TenancyConfig } from './config.ts'
import type { DatabaseServer, RegistryDialect } from './contracts/dialect.ts'
import type { TenantStore } from './contracts/store.ts'
import { createDrizzlePostgresTenantStore } from './tenants/drizzle-postgres-store.ts'
import { createLockingTenantStore } from './tenants/locking-store.ts'
import { mssqlRegistry } from './tenants/mssql-registry.ts'
import { mysqlRegistry } from './tenants/mysql-registry.ts'
import { sqliteRegistry } from './tenants/sqlite-registry.ts'

/**
 * The registry of tenants: the user's own, or one on the main server.
 * @throws TENANCY_ERR_CONFIG_INVALID for a `registrySchema` that this server cannot have
 */
export function configuredStore(
  { tenantStore, registrySchema, maxTenants }: Pick<TenancyConfig, 'tenantStore' | 'registrySchema' | 'maxTenants'>,
  { registry, drizzle }: Pick<DatabaseServer, 'registry' | 'drizzle'>,
): TenantStore {
  if (tenantStore !== undefined) return tenantStore
  const { dialect, connection } = registry
  const stores: Record<RegistryDialect, () => TenantStore> = {
    postgres: () =>
      createDrizzlePostgresTenantStore({ admin: connection, drizzle, schema: registrySchema, maxTenants }),
    mysql: () => createLockingTenantStore(connection, mysqlRegistry(registrySchema), { maxTenants }),
    mssql: () => createLockingTenantStore(connection, mssqlRegistry(registrySchema), { maxTenants }),
    sqlite: () => createLockingTenantStore(connection, sqliteRegistry, { maxTenants }),
  }
  return stores[dialect]()
}
