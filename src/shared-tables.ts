import type { TenancyConfig } from './config.ts'
import type { DatabaseServer } from './contracts/dialect.ts'
import type { IsolationStrategy } from './contracts/isolation.ts'
import { tenancyError } from './errors.ts'
import { readMigrations } from './migrations/reader.ts'
import { migrateNamespace } from './migrations/runner.ts'
import { assertUnshared, shareTables } from './sql/adopt.ts'

/**
 * Makes the user's tables that all tenants use speak of the place where they are. Before tables of tenants are adopted.
 * @throws TENANCY_ERR_CONFIG_INVALID also when tenants could not reach them
 */
export function adoptSharedTables(
  { sharedTables, schema }: TenancyConfig,
  { shared }: Pick<DatabaseServer, 'shared'>,
  { needs }: Pick<IsolationStrategy, 'needs'>,
): void {
  assertUnshared(schema, sharedTables)
  if (sharedTables.length === 0) return
  const apart = needs.filter((name) => shared?.reach.has(name) !== true)
  if (shared === undefined || apart.length > 0) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      `- sharedTables: on this database tenants of the isolation strategy \`${apart.join('`, `')}\` cannot reach a table outside of their own. Copy it into each tenant, or use another strategy.`,
    ])
  }
  shareTables(schema, sharedTables, shared.qualifier)
}

/**
 * A server that makes and migrates the shared tables and sets their rights when it is opened, before any tenant is served.
 * Safe when several processes start at once. Its `open()` throws TENANCY_ERR_SHARED_TABLES, TENANCY_ERR_MIGRATIONS_FOLDER,
 * TENANCY_ERR_MIGRATION_REFUSED, TENANCY_ERR_MIGRATION_CHANGED, TENANCY_ERR_MIGRATION_FAILED and TENANCY_ERR_NAMESPACE_EXISTS too.
 * @param folder the migrations of the shared tables
 */
export function sharingServer(server: DatabaseServer, folder: string | undefined): DatabaseServer {
  const { shared } = server
  if (shared === undefined || folder === undefined) return server
  return Object.freeze({
    ...server,
    async open() {
      const warnings = await server.open()
      const migrations = await readMigrations(folder)
      await migrateNamespace({ server: shared, scope: shared.scope, migrations })
      return warnings
    },
  } satisfies DatabaseServer)
}
