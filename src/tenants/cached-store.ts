import type { TenantCache } from '../contracts/cache.ts'
import type { RegistryChanges } from '../contracts/changes.ts'
import type { ListOptions, TenantStore } from '../contracts/store.ts'
import type { NewTenant, Tenant, TenantPatch, TenantStatus } from '../contracts/tenant.ts'
import { isTenancyError, tenancyError } from '../errors.ts'
import { events } from '../events.ts'
import { hotTenantsOf } from './hot-tenants.ts'
import {
  createSharedReads,
  createStoreReads,
  type Reading,
  type SharedReadsOptions,
  type TenantSource,
} from './shared-reads.ts'

/** What {@link createCachedTenantStore} takes. */
export interface CachedTenantStoreOptions {
  readonly store: TenantStore
  /** The same registry, asked for `changes` and `refresh`: what may not wait behind look-ups. Default: `store`. */
  readonly news?: Pick<TenantStore, 'changes' | 'getByIds'> | undefined
  readonly cache: TenantCache
  /** What other processes share, between the store and L1. Default: nothing. */
  readonly l2?: Omit<SharedReadsOptions, 'epoch'> | undefined
  /**
   * Called when a version becomes known that L1 does not hold, by a write or a read, before the caller has it. It can
   * come again for a version that L1 had to forget. Must not throw.
   */
  readonly onChange?: (tenant: Tenant) => void
  /**
   * Whether L1 hears of every change at once. Then an entry that has expired is served while it is read anew.
   * Default: never.
   */
  readonly isFresh?: () => boolean
  /**
   * Called when the registry is another one than before, or lost changes: no version that is known means anything. `used` are
   * the active tenants that L1 held: requests of theirs may be under way. Must not throw.
   */
  readonly onReset?: (used: readonly string[]) => void
  /** Called with an id before something is written and after it, for other processes to hear; after it when a tenant is discarded. Must not throw. */
  readonly announce?: ((id: string) => void) | undefined
}

/** A {@link TenantStore} whose reads of the contract ask the store, and whose additional reads ask L1 first. */
export interface CachedTenantStore extends TenantStore {
  /** The tenant L1 holds, `null` if it knows that there is none, `undefined` if it does not know. No I/O. */
  peek(identifier: string): Tenant | null | undefined
  /** The tenant by L1, else by one read that everyone who asks meanwhile shares. @throws TENANCY_ERR_STORE_UNAVAILABLE */
  resolve(identifier: string): Promise<Tenant | undefined>
  /** As `resolve`, for who has just peeked in vain: asking L1 again would count a second miss. */
  load(identifier: string): Promise<Tenant | undefined>
  /** Puts active tenants into L1, `count` at most: those that were noted as used, then the newest. @throws TENANCY_ERR_STORE_UNAVAILABLE */
  preload(count: number): Promise<void>
  /** Notes for the next start which tenants L1 was asked for last, then who was noted before, `count` at most. @throws TENANCY_ERR_STORE_UNAVAILABLE */
  noteUsed(count: number): Promise<void>
  /** Reads tenants, tells what is new of them, and keeps nothing. @throws TENANCY_ERR_STORE_UNAVAILABLE */
  refresh(ids: readonly string[]): Promise<readonly Tenant[]>
  /** As `resolve`, by id; an unknown id is not remembered. @throws TENANCY_ERR_STORE_UNAVAILABLE */
  resolveById(id: string): Promise<Tenant | undefined>
}

/** How often a tenant is read that writes, or news of them, overtake each time. */
const MAX_READS = 4

/** Most tenants of one page. */
const PAGE = 1000

/** How to read one tenant through L1. */
interface Lookup {
  readonly read: (again: boolean) => Promise<Reading>
  readonly held: () => Tenant | null | undefined
  readonly missing: (since: number) => void
}

/**
 * Puts L1, and L2 behind it, in front of a store. Every write goes to the store, then to L1, then to L2: L1 takes effect
 * at once, and what it knows refuses what L2 may still say. A read that a write has overtaken is neither kept nor given to
 * anyone: it is repeated. When it is unknown whether a write took place, both forget the tenant.
 *
 * News without a version may be forged and come without end. So the last read is given all the same, and not kept, if it is not
 * older than what is known, but only to who asked before it began: for them nothing has happened yet that it does not tell.
 *
 * After a reset, what began before it is believed nowhere, whatever its version: it may be an answer of the registry of before.
 */
export function createCachedTenantStore(options: CachedTenantStoreOptions): CachedTenantStore {
  const { store, news = store, cache, l2, onChange, onReset, isFresh, announce } = options
  const flights = new Map<string, Promise<Tenant | undefined>>()
  const registry = createStoreReads(store, () => cache.epoch)
  const nearest = l2 === undefined ? registry : createSharedReads({ ...l2, epoch: () => cache.epoch })
  /** The epoch of L1 at the last reset. */
  let resetAt = Number.NEGATIVE_INFINITY

  /**
   * Asks the store and takes in what it says, unless a reset came in between; in one step, so that none comes between these either.
   * @throws TENANCY_ERR_STORE_UNAVAILABLE after a reset
   */
  async function askStore<T>(work: () => Promise<T>, take: (answer: T, since: number) => void): Promise<T> {
    const since = cache.epoch
    const answer = await work()
    if (since < resetAt) throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
    take(answer, since)
    return answer
  }

  function note(tenant: Tenant, since: number): boolean {
    const before = cache.peekById(tenant.id)
    const kept = cache.set(tenant, since)
    if (before === undefined ? kept : before.version < tenant.version) onChange?.(tenant)
    return kept
  }

  /** @param onLast called before the last read begins */
  async function read({ read: ask, held, missing }: Lookup, onLast?: () => void): Promise<Tenant | undefined> {
    for (let reads = 1; ; reads++) {
      if (reads === MAX_READS) onLast?.()
      const start = events.load.hasSubscribers ? performance.now() : 0
      const { tenant, since } = await ask(reads > 1)
      if (events.load.hasSubscribers) {
        events.load.publish({ milliseconds: performance.now() - start, found: tenant !== undefined })
      }
      if (since < resetAt) {
        if (reads < MAX_READS) continue
        throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
      }
      if (tenant !== undefined && note(tenant, since)) return tenant
      if (tenant === undefined) missing(since)
      if (tenant === undefined && cache.epoch === since) return undefined
      const newer = held()
      // That there is none may be older than the tenant that was just read.
      if (newer !== undefined && (newer !== null || tenant === undefined)) return newer ?? undefined
      if (reads < MAX_READS) continue
      if (tenant === undefined || !cache.knowsNewer(tenant)) return tenant
      throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
    }
  }

  const byIdentifier = (identifier: string, source: TenantSource): Lookup => ({
    read: (again) => source.byIdentifier(identifier, again),
    held: () => cache.peek(identifier),
    missing: (since) => cache.setMissing(identifier, since),
  })

  const byId = (id: string, source: TenantSource): Lookup => ({
    read: (again) => source.byId(id, again),
    held: () => cache.peekById(id),
    missing: () => undefined,
  })

  function shared(key: string, lookup: Lookup): Promise<Tenant | undefined> {
    const underWay = flights.get(key)
    if (underWay !== undefined) return underWay
    const leave = () => {
      if (flights.get(key) === flight) flights.delete(key)
    }
    const flight = read(lookup, leave).finally(leave)
    flights.set(key, flight)
    return flight
  }

  function peek(identifier: string): Tenant | null | undefined {
    const held = cache.peek(identifier)
    if (held !== undefined || isFresh?.() !== true) return held
    const stale = cache.peekStale(identifier)
    // Whoever asks when it fails is told.
    if (stale !== undefined) shared(`identifier:${identifier}`, byIdentifier(identifier, nearest)).catch(() => {})
    return stale
  }

  async function usedBefore(count: number): Promise<Tenant[]> {
    const ids = (await store.hotTenants?.()) ?? []
    const tenants = await store.getByIds(ids.slice(0, count))
    return tenants.filter(({ status }) => status === 'active')
  }

  async function noteUsed(count: number): Promise<void> {
    const used = cache.usedLast(count)
    if (used.length === 0) return
    const ids = new Set([...used, ...((await store.hotTenants?.()) ?? [])])
    await store.noteHotTenants?.([...ids].slice(0, count))
  }

  async function preload(count: number): Promise<void> {
    const since = cache.epoch
    const found = await usedBefore(count)
    let left = count - found.length
    let after: string | undefined
    while (left > 0) {
      const page = await store.list({
        status: 'active',
        limit: Math.min(left, PAGE),
        ...(after !== undefined && { after }),
      })
      found.push(...page.tenants)
      left -= page.tenants.length
      after = page.next
      if (after === undefined) break
    }
    if (since < resetAt) return
    // The first last: it is the last to be pushed out.
    for (const tenant of found.toReversed()) note(tenant, since)
  }

  async function forget(id: string): Promise<void> {
    cache.forget(id)
    await l2?.shared.tell(id)
  }

  function learnOwn(tenant: Tenant, since: number): void {
    const before = cache.peekById(tenant.id)
    if (!note(tenant, since) && before === undefined) onChange?.(tenant)
  }

  async function write(id: string, work: () => Promise<Tenant>): Promise<Tenant> {
    // Before as well: who dies between the commit and the next message must have warned the others.
    announce?.(id)
    const tenant = await askStore(work, learnOwn)
      .catch(async (error: unknown) => {
        if (!isRefusal(error)) await forget(id)
        throw error
      })
      .finally(() => announce?.(id))
    await l2?.shared.tell(id, tenant.version)
    return tenant
  }

  async function discard(id: string): Promise<boolean> {
    const gone = await store
      .discard(id)
      .catch(async (error: unknown) => {
        await forget(id)
        throw error
      })
      .finally(() => announce?.(id))
    if (gone) await forget(id)
    return gone
  }

  /** Only what L1 holds already is brought up to date: a listing must not push live tenants out. */
  function learn(tenants: readonly Tenant[], since: number): void {
    for (const tenant of tenants) {
      if ((cache.peekById(tenant.id)?.version ?? Number.POSITIVE_INFINITY) < tenant.version) note(tenant, since)
    }
  }

  /** Nothing is kept: what changed elsewhere must not push out what is used here. */
  function hear(tenants: readonly Tenant[], since: number): void {
    const unknown = tenants.filter((tenant) => cache.raise(tenant, since))
    for (const tenant of unknown) onChange?.(tenant)
    // Who made the change may not have reached Redis. L1 knows already, so nobody waits for it.
    for (const { id, version } of unknown) void l2?.shared.tell(id, version)
  }

  function hearChanges({ reset, tenants, incarnation }: RegistryChanges, since: number): void {
    if (incarnation !== undefined) l2?.shared.belongTo(incarnation)
    if (reset) {
      const used = cache.usedLast(Number.POSITIVE_INFINITY)
      cache.clear()
      resetAt = cache.epoch
      void l2?.shared.clear()
      onReset?.(used)
    }
    hear(tenants, since)
  }

  const load = (identifier: string) => shared(`identifier:${identifier}`, byIdentifier(identifier, nearest))

  return Object.freeze({
    peek,
    preload,
    noteUsed,
    refresh: (ids: readonly string[]) => askStore(() => news.getByIds(ids), hear),
    load,
    async resolve(identifier: string) {
      const held = peek(identifier)
      return held === undefined ? load(identifier) : (held ?? undefined)
    },
    resolveById: async (id: string) => cache.peekById(id) ?? shared(`id:${id}`, byId(id, nearest)),
    initialize: () => store.initialize(),
    getById: (id: string) => read(byId(id, registry)),
    getByIdentifier: (identifier: string) => read(byIdentifier(identifier, registry)),
    getByIds: (ids: readonly string[]) => askStore(() => store.getByIds(ids), learn),
    insert: (tenant: NewTenant) => write(tenant.id, () => store.insert(tenant)),
    update: (id: string, patch: TenantPatch, expectedVersion?: number) =>
      write(id, () => store.update(id, patch, expectedVersion)),
    setStatus: (id: string, to: TenantStatus, from?: TenantStatus) => write(id, () => store.setStatus(id, to, from)),
    discard,
    list: (options?: ListOptions) =>
      askStore(
        () => store.list(options),
        ({ tenants }, since) => learn(tenants, since),
      ),
    count: (status?: TenantStatus) => store.count(status),
    ...(hasChanges(news) && { changes: (after?: string) => askStore(() => news.changes(after), hearChanges) }),
    ...hotTenantsOf(store),
    ping: () => store.ping(),
    close: () => store.close(),
  })
}

function hasChanges(store: Pick<TenantStore, 'changes'>): store is Required<Pick<TenantStore, 'changes'>> {
  return store.changes !== undefined
}

/** True when the store said no and so changed nothing; any other failure may have come after the commit. */
function isRefusal(error: unknown): boolean {
  return isTenancyError(error) && !isTenancyError(error, 'TENANCY_ERR_STORE_UNAVAILABLE')
}
