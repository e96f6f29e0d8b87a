import type { TenantStore } from '../contracts/store.ts'
import type { Tenant, TenantPatch } from '../contracts/tenant.ts'
import { isTenancyError, tenancyError } from '../errors.ts'
import { mergeMetadata } from '../tenants/tenant-input.ts'
import type { TenantMetadata } from '../tenants/tenant-metadata.ts'
import { withRetries } from '../util/retry.ts'
import { createTurns } from '../util/turns.ts'

/** What {@link createUpdate} needs. */
export interface UpdateOptions {
  readonly store: Pick<TenantStore, 'getById' | 'update'>
  readonly metadata: TenantMetadata
}

/** Changes a tenant; see the verb `update` of `app.tenancy`. */
export type Update = (id: string, patch: TenantPatch, expectedVersion?: number) => Promise<Tenant>

/**
 * Where there is a schema of metadata, what is checked is what will be stored: the merged whole. It is written only if
 * nobody changed the tenant since, and merged and checked again if somebody did. Writers of one process take turns, or
 * many would only keep each other from it.
 */
export function createUpdate({ store, metadata }: UpdateOptions): Update {
  const inTurn = createTurns()

  async function mergeAndUpdate(id: string, patch: TenantPatch, expectedVersion?: number): Promise<Tenant> {
    const tenant = await store.getById(id)
    if (tenant === undefined) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
    if (expectedVersion !== undefined && expectedVersion !== tenant.version) {
      throw tenancyError('TENANCY_ERR_TENANT_CONFLICT', [expectedVersion])
    }
    metadata.check(mergeMetadata(tenant.metadata, patch))
    return store.update(id, patch, tenant.version)
  }

  return async (id, patch, expectedVersion) => {
    if (!metadata.isChecked || patch.metadata === undefined) return store.update(id, patch, expectedVersion)
    const isOvertaken = (error: unknown) =>
      expectedVersion === undefined && isTenancyError(error, 'TENANCY_ERR_TENANT_CONFLICT')
    return inTurn(id, () => withRetries(() => mergeAndUpdate(id, patch, expectedVersion), isOvertaken))
  }
}
