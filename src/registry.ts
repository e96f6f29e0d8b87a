import type { TenancyConfig } from './config.ts'
import type { DatabaseServer, RegistryDialect } from './contracts/dialect.ts'
import type { TenantStore } from './contracts/store.ts'
import { tenancyError } from './errors.ts'
import { createDrizzlePostgresTenantStore } from './tenants/drizzle-postgres-store.ts'
import { createLockingTenantStore } from './tenants/locking-store.ts'
import { mysqlRegistry } from './tenants/mysql-registry.ts'
import { sqliteRegistry } from './tenants/sqlite-registry.ts'

/**
 * The registry of tenants: the user's own, or one on the main server.
 * @throws TENANCY_ERR_CONFIG_INVALID where that server has none and the user gives none
 */
export function configuredStore(
  { tenantStore, registrySchema, maxTenants }: Pick<TenancyConfig, 'tenantStore' | 'registrySchema' | 'maxTenants'>,
  { registry, drizzle }: Pick<DatabaseServer, 'registry' | 'drizzle'>,
): TenantStore {
  if (tenantStore !== undefined) return tenantStore
  if (registry === undefined) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      '- tenantStore: missing. There is no registry of tenants on this database yet: give a TenantStore of your own.',
    ])
  }
  const { dialect, connection } = registry
  const stores: Record<RegistryDialect, () => TenantStore> = {
    postgres: () =>
      createDrizzlePostgresTenantStore({ admin: connection, drizzle, schema: registrySchema, maxTenants }),
    mysql: () => createLockingTenantStore(connection, mysqlRegistry(registrySchema), { maxTenants }),
    sqlite: () => createLockingTenantStore(connection, sqliteRegistry, { maxTenants }),
  }
  return stores[dialect]()
}
