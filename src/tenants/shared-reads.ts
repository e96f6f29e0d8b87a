import type { Lease, SharedTenantCache } from '../contracts/shared-cache.ts'
import type { TenantStore } from '../contracts/store.ts'
import type { Tenant } from '../contracts/tenant.ts'

/** What a read gave, and the `epoch` of L1 when it began, or before. */
export interface Reading {
  readonly tenant: Tenant | undefined
  readonly since: number
}

/** Where L1 reads from. */
export interface TenantSource {
  /** With `again`, an earlier answer was refused: the store itself is asked. */
  byId(id: string, again: boolean): Promise<Reading>
  byIdentifier(identifier: string, again: boolean): Promise<Reading>
}

/** What {@link createSharedReads} takes. */
export interface SharedReadsOptions {
  /** Gives what L2 may hold: with secrets still sealed. */
  readonly store: Pick<TenantStore, 'getById' | 'getByIdentifier'>
  readonly shared: SharedTenantCache
  /** What L1 is to hold of it. */
  readonly unseal?: (tenant: Tenant) => Tenant
  /** The `epoch` of L1. */
  readonly epoch: () => number
}

/** One moment of L1. */
interface Moment {
  readonly at: number
  readonly epoch: number
}

/** How precisely, and how far back, the epoch of a moment is known: an hour and some. */
const STEP_MS = 1000
const MOST_MOMENTS = 4096

/** As old as it gets: L1 refuses it where it knows anything. */
const UNKNOWN = -1

/** Reads the store, and tells which epoch of L1 was before the read. */
export function createStoreReads(
  store: Pick<TenantStore, 'getById' | 'getByIdentifier'>,
  epoch: () => number,
): TenantSource {
  const read = async (ask: () => Promise<Tenant | undefined>): Promise<Reading> => {
    const since = epoch()
    return { since, tenant: await ask() }
  }
  return Object.freeze({
    byId: (id: string) => read(() => store.getById(id)),
    byIdentifier: (identifier: string) => read(() => store.getByIdentifier(identifier)),
  })
}

/**
 * Reads L2, else the store. An answer of L2 is a read of the store that began when it was asked, in this process or
 * another: it comes with the epoch that L1 had then, so that L1 refuses what it has learned better since, as it does with
 * any slow read.
 *
 * Who has an identifier is only pointed to: the tenant found there must say itself that it has it. Unknown identifiers are
 * not shared, so that nobody can fill Redis with made-up ones, nor a new tenant stay unknown.
 */
export function createSharedReads(options: SharedReadsOptions): TenantSource {
  const { store, shared, epoch, unseal = (tenant) => tenant } = options
  const direct = createStoreReads(store, epoch)
  const moments: Moment[] = [{ at: performance.now(), epoch: epoch() }]

  function note(): void {
    const at = performance.now()
    if (at - (moments.at(-1)?.at ?? 0) < STEP_MS) return
    moments.push({ at, epoch: epoch() })
    if (moments.length > MOST_MOMENTS) moments.shift()
  }

  const epochAt = (at: number): number => moments.findLast((moment) => moment.at <= at)?.epoch ?? UNKNOWN

  const unsealed = ({ tenant, since }: Reading): Reading => ({ since, tenant: tenant && unseal(tenant) })

  function share(tenant: Tenant | undefined, lease: Lease | undefined): void {
    if (tenant !== undefined && lease !== undefined) void shared.fill(tenant, lease)
  }

  async function sealedById(id: string, again: boolean): Promise<Reading> {
    note()
    const { tenant, asOf, lease } = await shared.read(id, again ? -1 : Number.POSITIVE_INFINITY)
    if (tenant !== undefined && asOf !== undefined) return { tenant, since: epochAt(asOf) }
    const reading = await direct.byId(id, again)
    share(reading.tenant, lease)
    return reading
  }

  async function sealedByIdentifier(identifier: string, again: boolean): Promise<Reading> {
    const id = await shared.idOf(identifier)
    if (id !== undefined) {
      const reading = await sealedById(id, again)
      if (reading.tenant?.identifier === identifier) return reading
    }
    const reading = await direct.byIdentifier(identifier, again)
    if (reading.tenant !== undefined) void shared.point(identifier, reading.tenant.id)
    return reading
  }

  return Object.freeze({
    byId: async (id: string, again: boolean) => unsealed(await sealedById(id, again)),
    byIdentifier: async (identifier: string, again: boolean) => unsealed(await sealedByIdentifier(identifier, again)),
  })
}
