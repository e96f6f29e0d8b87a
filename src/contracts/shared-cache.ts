import type { Tenant } from './tenant.ts'

/** What reads the store with leave to share what it finds. */
export interface Lease {
  readonly token: string
  /** By `performance.now()`, before the store is asked. */
  readonly begun: number
}

/** What L2 says of an id: the tenant, or a lease, or neither where nothing can be shared now. */
export interface SharedRead {
  readonly tenant?: Tenant
  /** With `tenant`: the store said so at this moment of `performance.now()`, or later. */
  readonly asOf?: number
  readonly lease?: Lease
}

/** Whether L2 is used: `off` before the first connection and while Redis does not do its work. */
export type SharedCacheState = 'off' | 'probing' | 'on'

/** Counters of this process since the start. */
export interface SharedCacheStats {
  readonly state: SharedCacheState
  readonly hits: number
  readonly misses: number
  /** Writes that Redis could not be told of yet. */
  readonly untold: number
}

/**
 * L2: tenants that the processes of an app share. It may go away at any time: no method but `open` throws, and none takes
 * longer than a quarter of a second.
 *
 * An answer of L2 is a read of the store that began a while ago, and is believed like one. What is shared was read under a
 * lease, which every change of the tenant ends; so nothing that is lost in between, a floor or all of it, lets an old
 * tenant in.
 */
export interface SharedTenantCache {
  /** From now on nothing is read but what was shared of this incarnation of the registry, and what is shared is of it. */
  belongTo(incarnation: string): void
  /** Begins to connect. @throws TENANCY_ERR_PEER_MISSING */
  open(): Promise<void>
  /** The tenant, unless the store was asked longer than `maxAgeMs` ago; else a lease. */
  read(id: string, maxAgeMs: number): Promise<SharedRead>
  /** Who had this identifier when it was last asked for. A hint: only the tenant itself can tell. */
  idOf(identifier: string): Promise<string | undefined>
  /** Shares what the store said under this lease. */
  fill(tenant: Tenant, lease: Lease): Promise<void>
  /** Keeps the hint of {@link idOf}. */
  point(identifier: string, id: string): Promise<void>
  /**
   * Drops what is older than `version`, and all leases; without `version`, whatever is held. What cannot be told now is told
   * before this process reads again.
   */
  tell(id: string, version?: number): Promise<void>
  /** Drops all tenants. */
  clear(): Promise<void>
  stats(): SharedCacheStats
  close(): Promise<void>
}
