/**
 * Where a tenant stands. Only `active` is served. To the outside `provisioning`, `deleted`, `purging` and `purged` look
 * exactly like an unknown tenant.
 */
export type TenantStatus = 'provisioning' | 'active' | 'suspended' | 'deleted' | 'purging' | 'purged'

/** The legal next states of each status. Stores enforce it inside the SQL statement. */
export const transitions: Readonly<Record<TenantStatus, readonly TenantStatus[]>> = Object.freeze({
  provisioning: ['active', 'suspended'],
  active: ['suspended', 'deleted'],
  suspended: ['active', 'deleted'],
  deleted: ['purging'],
  purging: ['purged'],
  purged: [],
})

/** The statuses from which `to` may be reached; with `from`, that one only. */
export function sourcesOf(to: TenantStatus, from?: TenantStatus): readonly TenantStatus[] {
  const all = from === undefined ? (Object.keys(transitions) as TenantStatus[]) : [from]
  return all.filter((source) => transitions[source].includes(to))
}

/** Ways to keep tenants apart. */
export const strategyNames = ['schema', 'rls', 'database', 'prefix'] as const

/** One of {@link strategyNames}. */
export type StrategyName = (typeof strategyNames)[number]

/** The name of the server that `databaseUrl` leads to: it holds the registry, and tenants unless said otherwise. */
export const MAIN_SERVER = 'main'

/** Where a tenant's rows live. Chosen once at registration, stored, never derived from the identifier. */
export interface Placement {
  /** What separates this tenant's rows from others'. */
  readonly strategy: StrategyName
  /** {@link MAIN_SERVER}, or an entry of the configured servers. */
  readonly server: string
  /** Generated from the id: `t` and 25 base-36 digits. Unique for ever. */
  readonly namespace: string
  /**
   * What the tenant column holds in this tenant's rows, where tenants share tables. The id unless registered otherwise.
   * Unique for ever, in whatever form it is written (`042` is `42`).
   */
  readonly rowKey: string
}

/** A customer. Deep-frozen: what a handler holds can not change what the next request sees. */
export interface Tenant {
  /** UUID, generated, immutable. */
  readonly id: string
  /** The slug in headers, hosts and paths. Can be renamed; nothing derives from it. */
  readonly identifier: string
  readonly name: string
  readonly status: TenantStatus
  readonly placement: Placement
  readonly metadata: Readonly<Record<string, unknown>>
  /** Grows by one with every change of the row. */
  readonly version: number
  /** ISO 8601, UTC. A string because a `Date` cannot be frozen. */
  readonly createdAt: string
  /** ISO 8601, UTC. */
  readonly updatedAt: string
}

/** What {@link TenantStore.insert} takes. */
export type NewTenant = Pick<Tenant, 'id' | 'identifier' | 'name' | 'status' | 'placement' | 'metadata'>

/** What may be changed by an update: the rest has its own verbs or never changes. */
export interface TenantPatch {
  /** A rename; the placement stays. */
  readonly identifier?: string
  readonly name?: string
  /** Merged shallowly into the stored metadata; a key set to `null` is removed. */
  readonly metadata?: Readonly<Record<string, unknown>>
}
