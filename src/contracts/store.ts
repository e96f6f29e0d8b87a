import type { RegistryChanges } from './changes.ts'
import type { NewTenant, Tenant, TenantPatch, TenantStatus } from './tenant.ts'

/** Which tenants are meant. */
export interface TenantFilter {
  /** Only tenants of this status. Default: all. */
  readonly status?: TenantStatus
  /**
   * Only tenants whose identifier or name has this text in it, in whatever case, see `foldText()`. At most 255
   * characters; `%` and `_` are characters like any other. Default: all.
   */
  readonly search?: string
}

/** Which tenants to list. */
export interface ListOptions extends TenantFilter {
  /** Rows of one page, 1 to 1000. Default 100. */
  readonly limit?: number
  /** The `next` of the page before. */
  readonly after?: string
}

/** One page of tenants, newest first (ties by id), by keyset: a change in between neither repeats nor skips a row. */
export interface TenantPage {
  readonly tenants: readonly Tenant[]
  /** Hand to `after` for the next page; absent on the last. */
  readonly next?: string
}

/**
 * The registry of tenants. Every implementation and every wrapper passes test/conformance/store.ts.
 *
 * An identifier that a tenant gave up by a rename is never another's: processes that have not heard of the rename yet would
 * serve the new one the rows of the old. Reads give `undefined` for what does not exist. Writes throw TENANCY_ERR_TENANT_EXISTS (id, identifier, namespace or
 * the canonical form of the row key taken, also by a tenant that is purged; see `canonicalRowKey()`), TENANCY_ERR_TENANT_NOT_FOUND, TENANCY_ERR_TENANT_CONFLICT (stale version),
 * TENANCY_ERR_STATUS_TRANSITION or TENANCY_ERR_TENANT_LIMIT.
 * A store that cannot be reached throws TENANCY_ERR_STORE_UNAVAILABLE. Returned tenants are deep-frozen.
 */
export interface TenantStore {
  /** Creates or upgrades what the store needs. Idempotent, safe when several processes start at once. */
  initialize(): Promise<void>
  getById(id: string): Promise<Tenant | undefined>
  getByIdentifier(identifier: string): Promise<Tenant | undefined>
  /** Tenants by their ids, however many: in the order of the ids, each once, without those that do not exist. */
  getByIds(ids: readonly string[]): Promise<readonly Tenant[]>
  insert(tenant: NewTenant): Promise<Tenant>
  /** Changes one row; with `expectedVersion` only if nobody changed it since. */
  update(id: string, patch: TenantPatch, expectedVersion?: number): Promise<Tenant>
  /** Moves the status along the state machine, in one statement; with `from` only out of that status. */
  setStatus(id: string, to: TenantStatus, from?: TenantStatus): Promise<Tenant>
  /** Forgets a tenant that never got past `provisioning`; any other is left alone and gives `false`. */
  discard(id: string): Promise<boolean>
  list(options?: ListOptions): Promise<TenantPage>
  count(status?: TenantStatus): Promise<number>
  /**
   * What was committed after a position that an earlier call gave; without one, nothing but the position of now. What
   * commits late is never missed. Optional: without it, processes learn of each other's writes by the TTL of their caches.
   */
  changes?(after?: string): Promise<RegistryChanges>
  /**
   * The ids that were noted last, in their order; empty before. Optional, with the next: without them, a process that starts
   * knows only which tenants are the newest.
   */
  hotTenants?(): Promise<readonly string[]>
  /** Notes which tenants are used, for who starts next. A hint: of two that write at once one is lost. */
  noteHotTenants?(ids: readonly string[]): Promise<void>
  /** Resolves when the store answers, and may be read. */
  ping(): Promise<void>
  close(): Promise<void>
}
