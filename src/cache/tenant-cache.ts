import { LRUCache } from 'lru-cache'
import type { CacheStats, TenantCache } from '../contracts/cache.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { events } from '../events.ts'
import { type ChangeLog, createChangeLog } from './change-log.ts'

/** What {@link createTenantCache} takes. */
export interface TenantCacheOptions {
  /** Most tenants held; as many identifiers that nobody has are held beside them. At least 1. */
  readonly maxSize: number
  /** Seconds a tenant is believed after it was stored, however often it is read. Above 0. */
  readonly ttlSeconds: number
  /** Seconds an identifier is believed to be nobody's. Above 0. Default: 10, or `ttlSeconds` if that is less. */
  readonly negativeTtlSeconds?: number
  /** The clock, in milliseconds from 0. Default: `performance.now`. */
  readonly now?: () => number
}

/** The lowest version still believed, and the moment before which a read must not have begun. */
interface Floor {
  readonly version: number
  readonly barrier: number
}

/** Floors and owners outlive their entries: this many are held for each tenant that fits. */
const MEMORY_FACTOR = 4

const DEFAULT_NEGATIVE_TTL_SECONDS = 10

const NOBODY = ''

/** Looked up once: one of them is on the way of every request. */
const { hit, negativeHit, miss, stale, invalidation } = events

/**
 * L1. Entries are found by identifier and by id. Identifiers that nobody has are held apart, within their own bound, so a
 * flood of made-up ones evicts no live tenant. An expired entry goes with the next `purge()` or when room is needed.
 *
 * Floors are bounded too, see `createChangeLog`: a read during which a floor was forgotten is refused, never believed.
 * @throws TENANCY_ERR_CONFIG_INVALID
 */
export function createTenantCache(options: TenantCacheOptions): TenantCache {
  const { maxSize, ttlSeconds } = options
  const { negativeTtlSeconds = Math.min(DEFAULT_NEGATIVE_TTL_SECONDS, ttlSeconds) } = options
  const problems: string[] = []
  if (!Number.isInteger(maxSize) || maxSize < 1) problems.push(`maxSize must be a whole number from 1, got ${maxSize}`)
  for (const [name, value] of Object.entries({ ttlSeconds, negativeTtlSeconds })) {
    // lru-cache takes 0 for "never expires".
    if (!Number.isFinite(value) || value <= 0) problems.push(`${name} must be above 0, got ${value}`)
  }
  if (problems.length > 0) throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [problems.join('\n')])
  const { now } = options
  // lru-cache takes a birth at 0 for "never expires". The real clock is past it.
  const clock = now === undefined ? performance : { now: () => now() + 1 }
  const ttlResolution = now === undefined ? resolutionFor(Math.min(ttlSeconds, negativeTtlSeconds)) : 0
  return Object.freeze(new L1({ maxSize, ttlSeconds, negativeTtlSeconds, clock, ttlResolution }))
}

/**
 * For how many milliseconds lru-cache goes by what the clock said last, with a timer for each: at every look-up it is 60 of
 * the 400 ns that a warm tenant costs a request. A hundredth of what is believed, and 50 ms at most.
 */
function resolutionFor(seconds: number): number {
  return Math.min(50, Math.floor(seconds * 10))
}

interface L1Options extends Required<Omit<TenantCacheOptions, 'now'>> {
  readonly clock: { now(): number }
  readonly ttlResolution: number
}

class L1 implements TenantCache {
  readonly #maxSize: number
  readonly #tenants: LRUCache<string, Tenant>
  readonly #byId = new Map<string, Tenant>()
  readonly #missing: LRUCache<string, true>
  readonly #floors: ChangeLog<Floor>
  /** Who has an identifier, by id; `NOBODY` once it is known to be free. */
  readonly #owners: ChangeLog<string>
  #epoch = 0
  #hits = 0
  #negativeHits = 0
  #misses = 0

  constructor({ maxSize, ttlSeconds, negativeTtlSeconds, clock, ttlResolution }: L1Options) {
    const common = { max: maxSize, ttlResolution, perf: clock }
    this.#maxSize = maxSize
    this.#tenants = new LRUCache<string, Tenant>({
      ...common,
      ttl: Math.ceil(ttlSeconds * 1000),
      // Or nothing would be left for `peekStale`.
      noDeleteOnStaleGet: true,
      dispose: (tenant) => {
        if (this.#byId.get(tenant.id) === tenant) this.#byId.delete(tenant.id)
      },
    })
    this.#missing = new LRUCache<string, true>({ ...common, ttl: Math.ceil(negativeTtlSeconds * 1000) })
    this.#floors = createChangeLog(maxSize * MEMORY_FACTOR)
    this.#owners = createChangeLog(maxSize * MEMORY_FACTOR)
  }

  get epoch(): number {
    return this.#epoch
  }

  peek(identifier: string): Tenant | null | undefined {
    const tenant = this.#tenants.get(identifier)
    if (tenant !== undefined) {
      this.#hits++
      if (hit.hasSubscribers) hit.publish({ tier: 'l1', id: tenant.id })
      return tenant
    }
    if (this.#missing.get(identifier) === true) {
      this.#negativeHits++
      if (negativeHit.hasSubscribers) negativeHit.publish({ tier: 'l1', identifier })
      return null
    }
    this.#misses++
    if (miss.hasSubscribers) miss.publish({ tier: 'l1', identifier })
    return undefined
  }

  peekStale(identifier: string): Tenant | undefined {
    const tenant = this.#tenants.peek(identifier, { allowStale: true })
    if (tenant !== undefined && stale.hasSubscribers) stale.publish({ tier: 'l1', id: tenant.id })
    return tenant
  }

  peekById(id: string): Tenant | undefined {
    const tenant = this.#byId.get(id)
    return tenant === undefined ? undefined : this.#tenants.get(tenant.identifier)
  }

  set(tenant: Tenant, since?: number): boolean {
    if (!this.#passesFloor(tenant, since) || !this.#takesIdentifier(tenant, since)) {
      // That nobody has the identifier is in doubt all the same: who asks for it next asks the store.
      this.#missing.delete(tenant.identifier)
      return false
    }
    this.#missing.delete(tenant.identifier)
    this.#tenants.set(tenant.identifier, tenant)
    this.#byId.set(tenant.id, tenant)
    return true
  }

  raise(tenant: Tenant, since: number): boolean {
    if (tenant.version <= this.#floorOf(tenant.id)) return false
    if (invalidation.hasSubscribers) invalidation.publish({ tier: 'l1', id: tenant.id })
    this.#passesFloor(tenant, undefined)
    if (this.#takesIdentifier(tenant, since)) {
      this.#missing.delete(tenant.identifier)
      this.#tenants.delete(tenant.identifier)
    }
    return true
  }

  setMissing(identifier: string, since: number): void {
    const owner = this.#owners.get(identifier)
    if (owner === undefined ? this.#owners.lostSince(since) : owner.at > since) return
    // Only what had an owner is noted, or a flood of made-up identifiers would wash the real ones out of the log.
    if (owner !== undefined && owner.value !== NOBODY) this.#disown(identifier)
    this.#missing.set(identifier, true)
  }

  knowsNewer({ id, version }: Tenant): boolean {
    return version < this.#floorOf(id)
  }

  forget(id: string): void {
    if (invalidation.hasSubscribers) invalidation.publish({ tier: 'l1', id })
    const held = this.#byId.get(id)
    if (held !== undefined) this.#disown(held.identifier)
    const barrier = ++this.#epoch
    this.#floors.record(id, { version: this.#floorOf(id), barrier }, barrier)
  }

  usedLast(count: number): readonly string[] {
    const ids: string[] = []
    for (const { id, status } of this.#tenants.values()) {
      if (ids.length >= count) break
      if (status === 'active') ids.push(id)
    }
    return ids
  }

  clear(): void {
    if (invalidation.hasSubscribers) invalidation.publish({ tier: 'l1' })
    this.#tenants.clear()
    this.#missing.clear()
    const now = ++this.#epoch
    this.#floors.clear(now)
    this.#owners.clear(now)
  }

  purge(): void {
    this.#tenants.purgeStale()
    this.#missing.purgeStale()
  }

  stats(): CacheStats {
    const answered = this.#hits + this.#negativeHits
    const asked = answered + this.#misses
    return {
      size: this.#tenants.size,
      maxSize: this.#maxSize,
      hits: this.#hits,
      negativeHits: this.#negativeHits,
      misses: this.#misses,
      hitRate: asked === 0 ? 0 : answered / asked,
    }
  }

  #floorOf(id: string): number {
    return this.#floors.get(id)?.value.version ?? 0
  }

  /** Raises the floor to the version of `tenant`; false if that is below it, or if its read began too early to tell. */
  #passesFloor(tenant: Tenant, since: number | undefined): boolean {
    const floor = this.#floors.get(tenant.id)?.value
    if (floor === undefined) {
      if (since !== undefined && this.#floors.lostSince(since)) return false
    } else {
      if (tenant.version < floor.version) return false
      if (since !== undefined && since < floor.barrier) return false
      if (tenant.version === floor.version) return true
    }
    const at = ++this.#epoch
    this.#floors.record(tenant.id, { version: tenant.version, barrier: floor?.barrier ?? 0 }, at)
    const older = this.#byId.get(tenant.id)
    if (older !== undefined) this.#disown(older.identifier)
    // News of its owner is news of the identifier too: it may have been given up and taken back in between.
    if (older?.identifier === tenant.identifier || this.#owners.get(tenant.identifier)?.value === tenant.id) {
      this.#own(tenant)
    }
    return true
  }

  /** Makes `tenant` the owner of its identifier; false if someone else got that since, or may have. */
  #takesIdentifier(tenant: Tenant, since: number | undefined): boolean {
    const owner = this.#owners.get(tenant.identifier)
    if (owner?.value === tenant.id) return true
    if (since !== undefined) {
      if (owner === undefined ? this.#owners.lostSince(since) : owner.at > since) return false
    } else if (owner !== undefined && owner.value !== NOBODY) {
      this.#disown(tenant.identifier)
      return false
    }
    this.#own(tenant)
    return true
  }

  #own({ id, identifier }: Tenant): void {
    this.#owners.record(identifier, id, ++this.#epoch)
  }

  #disown(identifier: string): void {
    this.#tenants.delete(identifier)
    this.#owners.record(identifier, NOBODY, ++this.#epoch)
  }
}
