import type { DatabaseServer } from '../contracts/dialect.ts'
import type { IsolationStrategy } from '../contracts/isolation.ts'
import type { TenantStore } from '../contracts/store.ts'
import type { Tenant, TenantStatus } from '../contracts/tenant.ts'
import type { VerifyReport } from '../contracts/verification.ts'
import { isTenancyError, tenancyError } from '../errors.ts'

/** What {@link verifyTenant} needs. */
export interface VerifyOptions {
  readonly store: Pick<TenantStore, 'getById'>
  readonly server: Pick<DatabaseServer, 'verify'>
  readonly strategy: Pick<IsolationStrategy, 'scope'>
}

/** There is nothing yet, or nothing any more, that could be kept apart. */
const WITHOUT_DATA: ReadonlySet<TenantStatus> = new Set(['provisioning', 'purging', 'purged'])

/**
 * Finds out whether a tenant is kept apart from all others. `ok: false` means that it is not; whatever keeps us from finding
 * out is thrown.
 * @throws TENANCY_ERR_TENANT_NOT_FOUND, TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_DATABASE_UNAVAILABLE,
 * TENANCY_ERR_VERIFY_FAILED with the reason as `cause`
 */
export async function verifyTenant({ store, server, strategy }: VerifyOptions, id: string): Promise<VerifyReport> {
  const tenant = await withData(store, id)
  try {
    const report = await server.verify(strategy.scope(tenant))
    // What is removed under our hands is not there to be read by its own tenant, which is no breach.
    if (!report.ok) await withData(store, id)
    return report
  } catch (error) {
    if (isTenancyError(error)) throw error
    throw tenancyError('TENANCY_ERR_VERIFY_FAILED', ['the database answered with an error, see `cause`'], error)
  }
}

async function withData(store: VerifyOptions['store'], id: string): Promise<Tenant> {
  const tenant = await store.getById(id)
  if (tenant === undefined) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
  if (!WITHOUT_DATA.has(tenant.status)) return tenant
  throw tenancyError('TENANCY_ERR_VERIFY_FAILED', [`it is ${tenant.status} and has no data of its own`])
}
