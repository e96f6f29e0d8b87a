import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import type { TenantCache } from '../../src/contracts/cache.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { type CachedTenantStore, createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { newTenant, positionAfter } from '../conformance/store.ts'
import { createSlowStore } from './slow-store.ts'

describe('createCachedTenantStore', () => {
  let primary: TenantStore
  let slow: ReturnType<typeof createSlowStore>
  let cache: TenantCache
  let changes: Tenant[]
  let store: CachedTenantStore

  beforeEach(() => {
    primary = createMemoryTenantStore()
    slow = createSlowStore(primary)
    cache = createTenantCache({ maxSize: 100, ttlSeconds: 60 })
    changes = []
    store = createCachedTenantStore({ store: slow.store, cache, onChange: (tenant) => changes.push(tenant) })
  })

  const insertActive = (change: Parameters<typeof newTenant>[0] = {}) =>
    primary.insert(newTenant({ identifier: 'acme', status: 'active', ...change }))

  it('[W60] learns from reads of many what it holds an older version of, and keeps out what it does not hold', async () => {
    const [acme, beta] = [await insertActive(), await insertActive({ identifier: 'beta' })]
    await store.resolve('acme')
    // Somebody else's write: not through this store.
    const suspended = await primary.setStatus(acme.id, 'suspended')
    changes = []
    expect(await store.getByIds([beta.id, acme.id])).toEqual([beta, suspended])
    expect([store.peek('acme'), store.peek('beta')]).toEqual([suspended, undefined])
    expect(changes).toEqual([suspended])
  })

  it('does not take an older "nobody" for news of a tenant that was just read and could not be kept', async () => {
    expect(await store.resolve('acme')).toBeUndefined()
    const acme = await insertActive()
    const release = slow.hold()
    const reading = store.getByIdentifier('acme')
    // Another process says that it has changed this tenant.
    cache.forget(acme.id)
    release()
    expect(await reading).toEqual(acme)
  })

  it('[W60] does not let a slow read of many put an old tenant back', async () => {
    const acme = await insertActive()
    await store.resolve('acme')
    const old = await primary.getByIds([acme.id])
    const slowReader = createCachedTenantStore({ store: { ...primary, getByIds: async () => old }, cache })
    const suspended = await store.setStatus(acme.id, 'suspended')
    await slowReader.getByIds([acme.id])
    expect(store.peek('acme')).toEqual(suspended)
  })

  describe('peek and resolve', () => {
    it('read once, then answer without I/O', async () => {
      const tenant = await insertActive()
      expect(store.peek('acme')).toBeUndefined()
      expect(await store.resolve('acme')).toEqual(tenant)
      expect(store.peek('acme')).toEqual(tenant)
      expect(await store.resolve('acme')).toEqual(tenant)
      expect(await store.resolveById(tenant.id)).toEqual(tenant)
      expect(slow.reads()).toBe(1)
    })

    it('[W58] share one read between 10,000 misses at once', async () => {
      const tenant = await insertActive()
      const release = slow.hold()
      const misses = Array.from({ length: 10_000 }, () => store.resolve('acme'))
      release()
      expect(new Set(await Promise.all(misses))).toEqual(new Set([tenant]))
      expect(slow.reads()).toBe(1)
    })

    it('[W58] share one read by id too', async () => {
      const tenant = await insertActive()
      const found = await Promise.all(Array.from({ length: 1000 }, () => store.resolveById(tenant.id)))
      expect(new Set(found)).toEqual(new Set([tenant]))
      expect(slow.reads()).toBe(1)
    })

    it('[W58] read once for 10,000 requests for one unknown identifier, at once or in turn', async () => {
      await Promise.all(Array.from({ length: 5000 }, () => store.resolve('nobody')))
      for (let n = 0; n < 5000; n++) expect(await store.resolve('nobody')).toBeUndefined()
      expect(store.peek('nobody')).toBeNull()
      expect(slow.reads()).toBe(1)
    })

    it('do not mix one identifier with another, nor with an id', async () => {
      const acme = await insertActive()
      const beta = await insertActive({ identifier: 'beta' })
      const found = await Promise.all([store.resolve('acme'), store.resolve('beta'), store.resolveById(beta.id)])
      expect(found).toEqual([acme, beta, beta])
      expect(await store.resolve(acme.id)).toBeUndefined()
    })

    it('do not remember a failed read', async () => {
      const tenant = await insertActive()
      slow.fail('before')
      const failed = await Promise.allSettled([store.resolve('acme'), store.resolve('acme')])
      expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
      expect(await store.resolve('acme')).toEqual(tenant)
      expect(slow.reads()).toBe(2)
    })

    it('forget an unknown identifier when it is registered or taken by a rename', async () => {
      await store.resolve('acme')
      await store.resolve('beta')
      const { id } = await store.insert(newTenant({ identifier: 'acme', status: 'active' }))
      expect(await store.resolve('acme')).toMatchObject({ id })
      await store.update(id, { identifier: 'beta' })
      expect(await store.resolve('beta')).toMatchObject({ id })
      expect(await store.resolve('acme')).toBeUndefined()
    })

    it('give undefined for an unknown id, also while other tenants change', async () => {
      const { id } = await insertActive()
      const unknown = store.resolveById(randomUUID())
      await store.setStatus(id, 'suspended')
      expect(await unknown).toBeUndefined()
      expect(await store.getById(randomUUID())).toBeUndefined()
    })
  })

  describe('[W40] a slow read that began before a write', () => {
    it.each<[string, (id: string) => Promise<Tenant | undefined>]>([
      ['resolve', () => store.resolve('acme')],
      ['resolveById', (id) => store.resolveById(id)],
      ['getById', (id) => store.getById(id)],
      ['getByIdentifier', () => store.getByIdentifier('acme')],
    ])('by %s neither puts the old tenant back nor gives it to anyone', async (_name, ask) => {
      const { id } = await insertActive()
      const release = slow.hold()
      const reading = ask(id)
      await store.setStatus(id, 'suspended')
      release()
      expect(await reading).toMatchObject({ status: 'suspended', version: 2 })
      expect(store.peek('acme')).toMatchObject({ status: 'suspended', version: 2 })
    })

    it('is repeated when L1 has lost the new tenant meanwhile', async () => {
      cache = createTenantCache({ maxSize: 1, ttlSeconds: 60 })
      store = createCachedTenantStore({ store: slow.store, cache })
      const { id } = await insertActive()
      const release = slow.hold()
      const reading = store.resolve('acme')
      await store.setStatus(id, 'suspended')
      for (let n = 0; n < 50; n++) await store.insert(newTenant({ status: 'active' }))
      release()
      expect(await reading).toMatchObject({ status: 'suspended' })
      expect(store.peek('acme')).toMatchObject({ status: 'suspended' })
      expect(slow.reads()).toBe(2)
    })

    it('finds nobody after a rename, instead of who was there', async () => {
      const { id } = await insertActive()
      const release = slow.hold()
      const reading = store.resolve('acme')
      await store.update(id, { identifier: 'beta' })
      release()
      expect(await reading).toBeUndefined()
      expect(store.peek('acme')).toBeNull()
    })

    it('does not make a new tenant unknown', async () => {
      const release = slow.hold()
      const reading = store.resolve('acme')
      const tenant = await store.insert(newTenant({ identifier: 'acme', status: 'active' }))
      release()
      expect(await reading).toEqual(tenant)
      expect(store.peek('acme')).toEqual(tenant)
    })

    it('does not bring a discarded tenant back', async () => {
      const { id } = await store.insert(newTenant({ identifier: 'acme' }))
      const release = slow.hold()
      const reading = store.getById(id)
      expect(await store.discard(id)).toBe(true)
      release()
      expect(await reading).toBeUndefined()
      expect(await store.resolve('acme')).toBeUndefined()
    })

    it('is a write too: of two that end in the wrong order the later version stays', async () => {
      const { id } = await insertActive()
      const release = slow.hold()
      const suspending = store.setStatus(id, 'suspended')
      const active = await store.setStatus(id, 'active')
      release()
      expect(await suspending).toMatchObject({ status: 'suspended', version: 2 })
      expect(store.peek('acme')).toEqual(active)
      expect(changes.map(({ version }) => version)).toEqual([3])
    })

    describe('overtaken by news without end', () => {
      /** Somebody says of `id` that it is being changed, in the middle of each read. */
      const flood = (id: string, meanwhile: (reads: number) => Promise<void> = async () => {}) => {
        let reads = 0
        const flooded: TenantStore = {
          ...primary,
          async getByIdentifier(identifier) {
            const found = await primary.getByIdentifier(identifier)
            await meanwhile(++reads)
            cache.forget(id)
            return found
          },
        }
        store = createCachedTenantStore({ store: flooded, cache, onChange: (tenant) => changes.push(tenant) })
        return () => reads
      }

      it('is answered in the end, and not kept', async () => {
        const acme = await insertActive()
        const reads = flood(acme.id)
        expect(await store.resolve('acme')).toEqual(acme)
        expect(await store.getByIdentifier('acme')).toEqual(acme)
        expect([reads(), store.peek('acme')]).toEqual([8, undefined])
      })

      it('is answered too when the flood is of ids that nobody has', async () => {
        cache = createTenantCache({ maxSize: 1, ttlSeconds: 60 })
        const acme = await insertActive()
        flood(acme.id, async () => {
          for (let n = 0; n < 100; n++) cache.forget(randomUUID())
        })
        expect(await store.resolve('acme')).toEqual(acme)
      })

      it('never gives a tenant that is older than what is known', async () => {
        const acme = await insertActive()
        flood(acme.id, async () => void (await store.setStatus(acme.id, 'suspended').catch(() => {})))
        expect(await store.resolve('acme')).toMatchObject({ status: 'suspended' })
      })

      it('gives nobody an answer of a read that began before he asked', async () => {
        const acme = await insertActive()
        let late: Promise<Tenant | undefined> | undefined
        flood(acme.id, async (reads) => {
          if (reads !== 4) return
          await primary.setStatus(acme.id, 'suspended')
          late = store.resolve('acme')
        })
        expect(await store.resolve('acme')).toEqual(acme)
        expect(await late).toMatchObject({ status: 'suspended' })
      })
    })

    it('gives up as unavailable when the store answers with an older tenant again and again', async () => {
      const { id } = await insertActive()
      const stale = await primary.getById(id)
      const replica: TenantStore = { ...primary, getByIdentifier: async () => stale }
      cache = createTenantCache({ maxSize: 1, ttlSeconds: 60 })
      store = createCachedTenantStore({ store: replica, cache })
      await store.setStatus(id, 'suspended')
      await store.insert(newTenant({ status: 'active' }))
      await expect(store.resolve('acme')).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
    })
  })

  describe('writes', () => {
    it('[W40] of every kind are seen by the next peek', async () => {
      const { id } = await store.insert(newTenant({ identifier: 'acme' }))
      expect(store.peek('acme')).toMatchObject({ version: 1, status: 'provisioning' })
      await store.setStatus(id, 'active')
      expect(store.peek('acme')).toMatchObject({ version: 2, status: 'active' })
      await store.update(id, { metadata: { plan: 'pro' } })
      expect(store.peek('acme')).toMatchObject({ version: 3, metadata: { plan: 'pro' } })
      expect(slow.reads()).toBe(0)
    })

    it('that are refused leave L1 as it was', async () => {
      const tenant = await insertActive()
      await store.resolve('acme')
      await expect(store.setStatus(tenant.id, 'purged')).rejects.toMatchObject({
        code: 'TENANCY_ERR_STATUS_TRANSITION',
      })
      expect(await store.discard(tenant.id)).toBe(false)
      expect(store.peek('acme')).toEqual(tenant)
    })

    it('whose outcome is unknown make L1 forget the tenant', async () => {
      const { id } = await insertActive()
      await store.resolve('acme')
      slow.fail('after')
      await expect(store.setStatus(id, 'suspended')).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
      expect(store.peek('acme')).toBeUndefined()
      expect(await store.resolve('acme')).toMatchObject({ status: 'suspended' })
    })

    it('whose outcome is unknown refuse reads from before them', async () => {
      const { id } = await insertActive()
      const release = slow.hold()
      const reading = store.resolve('acme')
      slow.fail('after')
      await expect(store.update(id, { name: 'New' })).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
      release()
      expect(await reading).toMatchObject({ name: 'New' })
    })

    it('are announced before and after, and a discard after it: no number of a change tells of that', async () => {
      const announced: string[] = []
      store = createCachedTenantStore({ store: slow.store, cache, announce: (id) => announced.push(id) })
      const { id } = await store.insert(newTenant({ identifier: 'acme' }))
      expect(announced.splice(0)).toEqual([id, id])
      const release = slow.hold()
      const discarding = store.discard(id)
      await new Promise(setImmediate)
      expect(announced).toEqual([])
      release()
      expect(await discarding).toBe(true)
      expect(announced.splice(0)).toEqual([id])
      slow.fail('after')
      await store.discard(id).catch(() => {})
      expect(announced).toEqual([id])
    })

    it('that discard with unknown outcome make L1 forget the tenant', async () => {
      const { id } = await store.insert(newTenant({ identifier: 'acme' }))
      slow.fail('after')
      await expect(store.discard(id)).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
      expect(store.peek('acme')).toBeUndefined()
    })
  })

  it('serves what L1 believes while the store is down, then fails', async () => {
    let time = 0
    cache = createTenantCache({ maxSize: 10, ttlSeconds: 60, now: () => time })
    store = createCachedTenantStore({ store: slow.store, cache })
    const tenant = await insertActive()
    await store.resolve('acme')
    slow.fail('before')
    time = 59_000
    expect(await store.resolve('acme')).toEqual(tenant)
    time = 61_000
    await expect(store.resolve('acme')).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
  })

  describe('onChange', () => {
    it('tells each newer version once while L1 holds it: by a write, a read and a list', async () => {
      const { id } = await store.insert(newTenant({ identifier: 'acme', status: 'active' }))
      await store.resolve('acme')
      await store.getById(id)
      await primary.setStatus(id, 'suspended')
      await store.getByIdentifier('acme')
      await primary.setStatus(id, 'active')
      await store.list()
      await store.list()
      await store.update(id, { name: 'New' })
      await store.update(id, {})
      expect(changes.map(({ version, status }) => [version, status])).toEqual([
        [1, 'active'],
        [2, 'suspended'],
        [3, 'active'],
        [4, 'active'],
      ])
      expect(store.peek('acme')).toMatchObject({ version: 4 })
    })

    it('is told of a suspension before its caller has it', async () => {
      const { id } = await insertActive()
      const suspended = store.setStatus(id, 'suspended').then(() => changes.at(-1)?.status)
      expect(await suspended).toBe('suspended')
    })

    it('can be left out', async () => {
      store = createCachedTenantStore({ store: slow.store, cache })
      await expect(store.insert(newTenant())).resolves.toMatchObject({ version: 1 })
    })
  })

  it('lists without filling L1', async () => {
    await insertActive()
    expect((await store.list()).tenants).toHaveLength(1)
    expect(store.peek('acme')).toBeUndefined()
  })

  describe('[W40] changes of other processes', () => {
    const start = async (): Promise<string> => (await store.changes?.())?.position ?? expect.fail()

    it('take what is older out of L1, and are told once', async () => {
      const { id } = await insertActive()
      await store.resolve('acme')
      const position = await start()
      await primary.setStatus(id, 'suspended')
      await store.changes?.(position)
      await store.changes?.(position)
      expect(store.peek('acme')).toBeUndefined()
      expect(changes.map(({ version, status }) => [version, status])).toEqual([
        [1, 'active'],
        [2, 'suspended'],
      ])
      expect(await store.resolve('acme')).toMatchObject({ status: 'suspended' })
    })

    it('are told of tenants that L1 does not hold, and fill nothing', async () => {
      const position = await start()
      const { id } = await insertActive()
      await primary.setStatus(id, 'suspended')
      await store.changes?.(position)
      expect(changes).toMatchObject([{ id, status: 'suspended' }])
      expect(cache.stats().size).toBe(0)
    })

    it('refuse a slower read, which would put the old tenant back', async () => {
      const { id } = await insertActive()
      const position = await start()
      const release = slow.hold()
      const reading = store.resolve('acme')
      await primary.setStatus(id, 'suspended')
      await store.changes?.(position)
      release()
      expect(await reading).toMatchObject({ status: 'suspended', version: 2 })
      expect(store.peek('acme')).toMatchObject({ status: 'suspended' })
    })

    it('end what was remembered of an identifier: that nobody has it, or who had it', async () => {
      const acme = await insertActive()
      await store.resolve('acme')
      await store.resolve('later')
      const position = await start()
      await primary.update(acme.id, { identifier: 'renamed' })
      const later = await insertActive({ identifier: 'later' })
      await store.changes?.(position)
      expect([store.peek('acme'), store.peek('later'), store.peek('renamed')]).toEqual(Array(3).fill(undefined))
      expect(await store.resolve('acme')).toBeUndefined()
      expect(await store.resolve('later')).toEqual(later)
    })

    it('end the entry of a tenant whose row was removed by hand when another one has its identifier', async () => {
      const acme = await insertActive()
      await store.resolve('acme')
      const heir = newTenant({ identifier: 'acme', status: 'active' })
      const elsewhere = createMemoryTenantStore()
      const position = await start()
      await elsewhere.insert(heir)
      store = createCachedTenantStore({
        store: { ...elsewhere, changes: async () => elsewhere.changes?.(await positionAfter(0, elsewhere)) as never },
        cache,
      })
      expect(store.peek('acme')).toEqual(acme)
      await store.changes?.(position)
      expect(store.peek('acme')).toBeUndefined()
    })

    it('of a registry that went back empty L1', async () => {
      await insertActive()
      await store.resolve('acme')
      await store.changes?.(await positionAfter(1000, store))
      expect(store.peek('acme')).toBeUndefined()
    })

    it('are not there when the store has none', () => {
      const { changes: _, ...without } = primary
      expect(createCachedTenantStore({ store: without, cache })).not.toHaveProperty('changes')
    })
  })

  describe('[W58] while changes are heard at once', () => {
    let time = 0
    let fresh = true
    beforeEach(() => {
      time = 0
      fresh = true
      cache = createTenantCache({ maxSize: 100, ttlSeconds: 60, now: () => time })
      store = createCachedTenantStore({ store: slow.store, cache, isFresh: () => fresh })
    })

    it('an expired tenant is served while one read renews it', async () => {
      const tenant = await insertActive()
      await store.resolve('acme')
      time += 60_001
      const release = slow.hold()
      for (let n = 0; n < 100; n++) expect(store.peek('acme')).toEqual(tenant)
      expect(await store.resolve('acme')).toEqual(tenant)
      expect(slow.reads()).toBe(2)
      await primary.update(tenant.id, { name: 'New' })
      release()
      await new Promise(setImmediate)
      expect(cache.peek('acme')).toEqual(tenant)
    })

    it('but not when they are not, nor one that was changed, nor when a read fails for ever', async () => {
      const { id } = await insertActive()
      await store.resolve('acme')
      time += 60_001
      fresh = false
      expect(store.peek('acme')).toBeUndefined()
      fresh = true
      slow.fail('before')
      expect(store.peek('acme')).toMatchObject({ id })
      await new Promise(setImmediate)
      const { position = '' } = (await store.changes?.()) ?? {}
      await primary.setStatus(id, 'suspended')
      await store.changes?.(position)
      expect(store.peek('acme')).toBeUndefined()
      expect(await store.resolve('acme')).toMatchObject({ status: 'suspended' })
    })

    it('tells how long a read took', async () => {
      const heard: unknown[] = []
      const listen = (message: unknown) => heard.push(message)
      subscribe('fastify-tenancy:store:load', listen)
      onTestFinished(() => void unsubscribe('fastify-tenancy:store:load', listen))
      await store.resolve('acme')
      await insertActive({ identifier: 'beta' })
      await store.resolve('beta')
      const milliseconds = expect.any(Number) as number
      expect(heard).toEqual([
        { milliseconds, found: false },
        { milliseconds, found: true },
      ])
    })
  })

  describe('preload', () => {
    it('holds the newest active tenants, and no more than asked for', async () => {
      for (let n = 0; n < 5; n++) {
        await insertActive({ identifier: `tenant-${n}` })
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      await primary.insert(newTenant({ identifier: 'halfway' }))
      await store.preload(3)
      const held = [0, 1, 2, 3, 4].filter((n) => store.peek(`tenant-${n}`) !== undefined)
      expect([held, store.peek('halfway')]).toEqual([[2, 3, 4], undefined])
    })

    it('begins with those that were used last before, by whatever process, then takes the newest', async () => {
      const tenants: Tenant[] = []
      for (let n = 0; n < 6; n++) {
        tenants.push(await insertActive({ identifier: `tenant-${n}` }))
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      for (const n of [2, 1, 0, 1]) await store.resolve(`tenant-${n}`)
      await store.noteUsed(2)
      expect(await primary.hotTenants?.()).toEqual([1, 0].map((n) => tenants[n]?.id))
      // Who did not use one does not make it cold.
      const idle = createCachedTenantStore({ store: primary, cache: createTenantCache({ maxSize: 9, ttlSeconds: 60 }) })
      await idle.noteUsed(2)
      await idle.resolve('tenant-2')
      await idle.noteUsed(3)
      expect(await primary.hotTenants?.()).toEqual([2, 1, 0].map((n) => tenants[n]?.id))
      await primary.setStatus(tenants[1]?.id as string, 'suspended')

      cache = createTenantCache({ maxSize: 3, ttlSeconds: 60 })
      await createCachedTenantStore({ store: primary, cache }).preload(3)
      const held = [0, 1, 2, 3, 4, 5].filter((n) => cache.peek(`tenant-${n}`) !== undefined)
      expect(held).toEqual([0, 2, 5])
    })

    it('reads more than one page', async () => {
      for (let n = 0; n < 1100; n++) await insertActive({ identifier: `tenant-${n}` })
      cache = createTenantCache({ maxSize: 2000, ttlSeconds: 60 })
      store = createCachedTenantStore({ store: slow.store, cache })
      await store.preload(1050)
      expect(cache.stats().size).toBe(1050)
      await store.preload(5000)
      expect(cache.stats().size).toBe(1100)
    })

    it('puts no tenant back that was changed meanwhile', async () => {
      const { id } = await insertActive()
      const release = slow.hold()
      const loading = store.preload(10)
      await primary.setStatus(id, 'suspended')
      await store.changes?.(await positionAfter(0, store))
      release()
      await loading
      expect(store.peek('acme')).toBeUndefined()
    })
  })
})
