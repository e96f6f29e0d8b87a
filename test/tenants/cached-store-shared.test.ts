import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, expect, it } from 'vitest'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import type { TenantCache } from '../../src/contracts/cache.ts'
import type { SharedTenantCache } from '../../src/contracts/shared-cache.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { type CachedTenantStore, createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { sharedOn, uniquePrefix } from '../cache/shared.ts'
import { newTenant } from '../conformance/store.ts'
import { gate, until } from '../faults/fixture.ts'
import { describeWith } from '../servers/suite.ts'
import { createSlowStore } from './slow-store.ts'

interface Process {
  readonly store: CachedTenantStore
  readonly slow: ReturnType<typeof createSlowStore>
  readonly shared: SharedTenantCache
  readonly cache: TenantCache
  /** Lets all that L1 holds expire, but not what it knows. */
  readonly expire: () => void
}

describeWith(['redis'], 'createCachedTenantStore with L2', ({ redis }) => {
  let registry: TenantStore
  let prefix: string

  beforeEach(() => {
    registry = createMemoryTenantStore()
    prefix = uniquePrefix()
  })

  /** One process: its own L1 and connection to Redis, on the one registry. */
  async function start(maxSize = 100): Promise<Process> {
    const slow = createSlowStore(registry)
    const shared = await sharedOn(redis.url, prefix)
    let time = 0
    const cache = createTenantCache({ maxSize, ttlSeconds: 60, now: () => time })
    const store = createCachedTenantStore({ store: slow.store, cache, l2: { shared, store: slow.store } })
    // As at every start: of which incarnation the registry is.
    await store.changes?.()
    return { store, slow, shared, cache, expire: () => (time += 61_000) }
  }

  const active = (identifier = 'acme') => registry.insert(newTenant({ identifier, status: 'active' }))

  /** What a process finds when its L1 holds nothing, and how often it asked the store for it. */
  async function resolvedBy(process: Process, identifier = 'acme') {
    process.expire()
    const before = process.slow.reads()
    const tenant = await process.store.resolve(identifier)
    return { tenant, reads: process.slow.reads() - before }
  }

  /** Reads until L2 holds the tenant: the first read points to it, the second shares it. */
  async function warm(reader: Process, identifier = 'acme'): Promise<void> {
    await until(async () => (await resolvedBy(reader, identifier)).reads === 0)
  }

  it('reads the registry about once for all processes', async () => {
    const [one, two, three] = [await start(), await start(), await start()]
    const tenant = await active()
    for (const each of [one, two, three]) expect((await each.store.resolve('acme'))?.id).toBe(tenant.id)
    await until(async () => (await three.shared.read(tenant.id, Number.POSITIVE_INFINITY)).tenant !== undefined)
    const four = await start()
    await four.store.resolve('acme')
    expect(one.slow.reads() + two.slow.reads() + three.slow.reads()).toBe(2)
    // Four was not there when the registry was read: a change in between may not have reached it.
    expect(four.slow.reads()).toBe(1)
    expect(await resolvedBy(one)).toEqual({ tenant, reads: 0 })
  })

  it('[W58] shares one read between 1000 misses at once, with L2 or without', async () => {
    const one = await start()
    await active()
    const found = await Promise.all(Array.from({ length: 1000 }, () => one.store.resolve('acme')))
    expect(new Set(found).size).toBe(1)
    expect(one.slow.reads()).toBe(1)
    await one.shared.close()
    one.expire()
    await Promise.all(Array.from({ length: 1000 }, () => one.store.resolve('acme')))
    expect(one.slow.reads()).toBe(2)
  })

  it('[W40] a suspension is seen by all who ask L2, whatever was there', async () => {
    const [one, two] = [await start(), await start()]
    const { id } = await active()
    await warm(one)
    await two.store.setStatus(id, 'suspended')
    expect(await resolvedBy(one)).toMatchObject({ tenant: { status: 'suspended', version: 2 } })
    await warm(one)
    await two.store.setStatus(id, 'active')
    expect(await resolvedBy(one)).toMatchObject({ tenant: { status: 'active', version: 3 } })
  })

  it.each<[string, (process: Process, id: string) => Promise<unknown>]>([
    ['an update', ({ store }, id) => store.update(id, { metadata: { plan: 'pro' } })],
    ['a rename', ({ store }, id) => store.update(id, { identifier: 'beta' })],
    ['a status', ({ store }, id) => store.setStatus(id, 'suspended')],
    [
      'a write with unknown outcome',
      async ({ store, slow }, id) => {
        slow.fail('after')
        await store.setStatus(id, 'suspended').catch(() => {})
      },
    ],
    [
      'a change read from the registry',
      async ({ store, shared }, id) => {
        const { position } = (await store.changes?.()) ?? { position: '' }
        // Redis knows the script, so that what is told next takes one command.
        await shared.tell('somebody-else', 1)
        await registry.setStatus(id, 'suspended')
        await store.changes?.(position)
        // Nobody waits for what is told then, and a connection answers in order.
        expect((await shared.read(id, Number.POSITIVE_INFINITY)).tenant).toBeUndefined()
      },
    ],
  ])('[W40] %s is not undone in L2 by a read that began before', async (_name, change) => {
    const [reader, writer, other] = [await start(), await start(), await start()]
    const { id } = await active()
    await reader.store.resolve('acme')
    reader.expire()
    const release = reader.slow.hold()
    const reading = reader.store.resolve('acme')
    await until(() => reader.slow.reads() === 2)
    await change(writer, id)
    release()
    await reading
    const now = await registry.getById(id)
    expect(now?.version).toBe(2)
    for (let round = 0; round < 3; round++) {
      other.expire()
      expect(await other.store.resolveById(id)).toEqual(now)
    }
  })

  it('[W40] who lost an identifier is not found by it, nor by what points to it', async () => {
    const [one, two] = [await start(), await start()]
    const { id } = await active()
    await warm(one)
    await two.store.update(id, { identifier: 'beta' })
    expect(await one.shared.idOf('acme')).toBe(id)
    expect((await resolvedBy(one)).tenant).toBeUndefined()
    expect((await resolvedBy(one, 'beta')).tenant?.id).toBe(id)
    await until(async () => (await resolvedBy(one, 'beta')).reads === 0)
    expect((await resolvedBy(one)).tenant).toBeUndefined()
  })

  it('[W40] L1 refuses from L2 what it knows better, though Redis was not told', async () => {
    const [one, two] = [await start(), await start()]
    const { id } = await active()
    await warm(one)
    // As if who suspended it could not reach Redis, and this process learned it from the registry.
    await registry.setStatus(id, 'suspended')
    expect((await one.store.getById(id))?.status).toBe('suspended')
    one.expire()
    expect((await two.shared.read(id, Number.POSITIVE_INFINITY)).tenant?.status).toBe('active')
    expect((await one.store.resolve('acme'))?.status).toBe('suspended')
  })

  it('[W40] a rename that Redis was not told of gives nobody the old tenant', async () => {
    const one = await start(10)
    const { id } = await active()
    await warm(one)
    await registry.update(id, { identifier: 'beta' })
    expect((await one.store.getById(id))?.identifier).toBe('beta')
    // What L1 held of it is pushed out, and so is what it knew of the identifier.
    for (let n = 0; n < 100; n++) await one.store.insert(newTenant({ status: 'active' }))
    one.expire()
    expect(one.store.peek('acme')).toBeUndefined()
    expect((await one.shared.read(id, Number.POSITIVE_INFINITY)).tenant?.identifier).toBe('acme')
    expect(await one.store.resolve('acme')).toBeUndefined()
  })

  it('[W40] after a write with unknown outcome nothing from before is believed', async () => {
    const one = await start()
    const { id } = await active()
    await warm(one)
    one.slow.fail('after')
    await expect(one.store.setStatus(id, 'suspended')).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
    one.expire()
    expect((await one.store.resolve('acme'))?.status).toBe('suspended')
  })

  it('forgets a discarded tenant', async () => {
    const [one, two] = [await start(), await start()]
    const { id } = await registry.insert(newTenant({ identifier: 'acme' }))
    await warm(one)
    expect(await two.store.discard(id)).toBe(true)
    expect((await resolvedBy(one)).tenant).toBeUndefined()
  })

  it('forgets all when the registry is older than what was read from it', async () => {
    const [one, two] = [await start(), await start()]
    const { id } = await active()
    await warm(one)
    const registryOfBefore: TenantStore = {
      ...registry,
      changes: async () => ({ tenants: [], position: '0', more: false, reset: true }),
    }
    const restored = createCachedTenantStore({
      store: registryOfBefore,
      cache: createTenantCache({ maxSize: 10, ttlSeconds: 60 }),
      l2: { shared: two.shared, store: registryOfBefore },
    })
    await restored.changes?.('5')
    await until(async () => (await one.shared.read(id, Number.POSITIVE_INFINITY)).tenant === undefined)
  })

  it('believes nothing that L2 was asked for before the registry was another one', async () => {
    const one = await start()
    const tenant = await active()
    await registry.update(tenant.id, { name: 'lost by the failover' })
    await warm(one)
    const { open, passed } = gate()
    const shared: SharedTenantCache = {
      ...one.shared,
      async read(...parameters) {
        const answer = await one.shared.read(...parameters)
        if (answer.tenant !== undefined) await passed
        return answer
      },
    }
    const { version: _, createdAt: __, updatedAt: ___, ...row } = tenant
    const now = createMemoryTenantStore()
    const suspended = await now.insert({ ...row, status: 'suspended' })
    const heard: Tenant[] = []
    const cache = createTenantCache({ maxSize: 10, ttlSeconds: 60 })
    const onChange = (changed: Tenant) => heard.push(changed)
    const store = createCachedTenantStore({ store: now, cache, l2: { shared, store: now }, onChange })
    const reading = store.resolve('acme')
    await sleep(50)
    expect(await store.changes?.((await registry.changes?.())?.position)).toMatchObject({ reset: true })
    await store.getById(tenant.id)
    open()
    expect(await reading).toEqual(suspended)
    expect(heard).toEqual([suspended])
  })

  it('does not share unknown identifiers', async () => {
    const [one, two] = [await start(), await start()]
    expect(await one.store.resolve('acme')).toBeUndefined()
    const tenant = await active()
    expect(await two.store.resolve('acme')).toEqual(tenant)
  })

  it('gives what L2 holds through `unseal`, and what the store gives too', async () => {
    const { slow, shared } = await start()
    const tenant = await active()
    let time = 0
    const cache = createTenantCache({ maxSize: 10, ttlSeconds: 60, now: () => time })
    const l2 = { shared, store: slow.store, unseal: (sealed: typeof tenant) => ({ ...sealed, name: 'unsealed' }) }
    const store = createCachedTenantStore({ store: slow.store, cache, l2 })
    await until(async () => {
      time += 61_000
      const before = slow.reads()
      expect((await store.resolve('acme'))?.name).toBe('unsealed')
      return slow.reads() === before
    })
    expect((await shared.read(tenant.id, 60_000)).tenant?.name).toBe(tenant.name)
  })
})
