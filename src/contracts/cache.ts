import type { Tenant } from './tenant.ts'

/** Hits and misses since the start, and what is held now. */
export interface CacheStats {
  readonly size: number
  readonly maxSize: number
  readonly hits: number
  readonly negativeHits: number
  readonly misses: number
  /** The share of look-ups that memory answered, from 0 to 1: hits and negative hits among all. 0 before the first look-up. */
  readonly hitRate: number
}

/**
 * L1: tenants of this process by identifier, read without awaiting anything.
 *
 * Every entry carries the tenant's version. A *floor* is the lowest version still believed: a read that was slower than
 * a write brings an older version and is not stored.
 */
export interface TenantCache {
  /** The tenant, `null` if known not to exist, `undefined` if not known. Never waits. */
  peek(identifier: string): Tenant | null | undefined
  /** What `peek` gave before it expired, as long as it was neither purged nor made to go. Counts as no hit. */
  peekStale(identifier: string): Tenant | undefined
  /** The tenant of this id if held. */
  peekById(id: string): Tenant | undefined
  /**
   * Keeps `tenant` unless it is older than the floor; false when refused. Raises the floor to its version. `since` is the
   * `epoch` from before the read or write that gave it. Without it, a tenant whose identifier belongs to another one here
   * is refused and both are forgotten: nobody can tell which is older.
   */
  set(tenant: Tenant, since?: number): boolean
  /**
   * Raises the floor to the version of a tenant that was read as `set` says, drops what is older, and keeps nothing; false
   * when that version was known already.
   */
  raise(tenant: Tenant, since: number): boolean
  /** Whether a newer version of this tenant is known, held or not. */
  knowsNewer(tenant: Tenant): boolean
  /** Drops what is held of this id and refuses every read that began before now. */
  forget(id: string): void
  /** Remembers that nobody has this identifier, unless someone got it since `epoch`. */
  setMissing(identifier: string, epoch: number): void
  /** Ids of the active tenants that are held, at most `count`, the one that was used last first. */
  usedLast(count: number): readonly string[]
  /** Counts changes; read before a lookup, handed to {@link set} and {@link setMissing}. */
  readonly epoch: number
  clear(): void
  /** Drops what has expired. */
  purge(): void
  stats(): CacheStats
}

/** A bounded map that forgets what was used least recently. */
export interface Lru<V> {
  get(key: string): V | undefined
  set(key: string, value: V): void
  delete(key: string): void
  values(): Iterable<V>
  readonly size: number
}
