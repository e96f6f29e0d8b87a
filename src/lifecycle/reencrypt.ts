import type { TenantStore } from '../contracts/store.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { isTenancyError } from '../errors.ts'
import { iterateTenants } from '../tenants/iterate-tenants.ts'
import { outdatedSecrets, secretsOpen } from '../tenants/outdated-secrets.ts'

/** What {@link reencrypt} did. An older key is needed no more when a run gives 0 for all but `tenants`. */
export interface ReencryptReport {
  /** Tenants that were looked at, whatever their status. */
  readonly tenants: number
  /** Tenants of which secrets were sealed anew. */
  readonly resealed: number
  /**
   * Tenants with secrets that do not open: their key is missing or wrong, or they are in clear and that is not allowed. All are
   * tried, also those under the current key.
   */
  readonly unreadable: number
  /** The ids of the first 100 of these. */
  readonly unreadableIds: readonly string[]
  /** Tenants that others changed again and again meanwhile. Run it again. */
  readonly contended: number
}

const MAX_IDS = 100
/** How often a tenant is read again that somebody else has changed. */
const MAX_TRIES = 5

/**
 * Opens every secret, and seals those anew that are not sealed with the current key. One tenant after the other, by pages: what is in
 * memory does not grow with their number. It can be stopped and run again: what is done is skipped. A secret that
 * somebody writes meanwhile is never overwritten by an older one.
 * @throws TENANCY_ERR_STORE_UNAVAILABLE, TENANCY_ERR_KMS_UNAVAILABLE
 */
export async function reencrypt(store: TenantStore): Promise<ReencryptReport> {
  const count = { tenants: 0, resealed: 0, unreadable: 0, contended: 0 }
  const unreadableIds: string[] = []
  for await (const tenant of iterateTenants(store)) {
    const { resealed, unreadable, contended } = await reseal(store, tenant)
    count.tenants++
    count.resealed += Number(resealed)
    count.unreadable += Number(unreadable)
    count.contended += Number(contended)
    if (unreadable && unreadableIds.length < MAX_IDS) unreadableIds.push(tenant.id)
  }
  return Object.freeze({ ...count, unreadableIds: Object.freeze(unreadableIds) })
}

async function reseal(store: TenantStore, listed: Tenant) {
  let tenant: Tenant | undefined = listed
  let unreadable = false
  for (let tries = 1; tenant !== undefined && tries <= MAX_TRIES; tries++) {
    const metadata = await outdatedSecrets(tenant)
    unreadable = !(await secretsOpen(tenant))
    if (Object.keys(metadata).length === 0) return { resealed: false, unreadable, contended: false }
    try {
      await store.update(tenant.id, { metadata }, tenant.version)
      return { resealed: true, unreadable, contended: false }
    } catch (error) {
      if (!isTenancyError(error, 'TENANCY_ERR_TENANT_CONFLICT')) throw error
    }
    tenant = await store.getById(listed.id)
  }
  return { resealed: false, unreadable, contended: tenant !== undefined }
}
