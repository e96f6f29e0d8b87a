import type { DatabaseServer, DestroyReport } from '../contracts/dialect.ts'
import type { IsolationStrategy } from '../contracts/isolation.ts'
import type { TenantStore } from '../contracts/store.ts'
import { tenancyError } from '../errors.ts'

/** What {@link purgeTenant} needs. */
export interface PurgeOptions {
  readonly store: Pick<TenantStore, 'getById' | 'setStatus'>
  readonly server: Pick<DatabaseServer, 'destroy'>
  readonly strategy: Pick<IsolationStrategy, 'scope'>
}

/**
 * Removes the data of a deleted tenant for good. The row stays as a tombstone, so that nobody ever gets its namespace. A
 * purge that was cut off is finished by the next call.
 * @throws TENANCY_ERR_TENANT_NOT_FOUND, TENANCY_ERR_STATUS_TRANSITION, TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function purgeTenant({ store, server, strategy }: PurgeOptions, id: string): Promise<DestroyReport> {
  const found = await store.getById(id)
  if (found === undefined) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
  const tenant = found.status === 'purging' ? found : await store.setStatus(id, 'purging')
  const report = await server.destroy(strategy.scope(tenant))
  await store.setStatus(id, 'purged')
  return report
}
