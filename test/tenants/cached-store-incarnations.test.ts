import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, expect, it } from 'vitest'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { sharedOn, uniquePrefix } from '../cache/shared.ts'
import { newTenant } from '../conformance/store.ts'
import { until } from '../faults/fixture.ts'
import { describeWith } from '../servers/suite.ts'
import { routedStore } from './routed-store.ts'
import { createSlowStore } from './slow-store.ts'

/** How precisely L1 knows its own past, in milliseconds: see `createSharedReads`. */
const STEP_MS = 1000

/** In the registry of before the tenant is active, in a later version than in the one of now, where it is suspended. */
describeWith(['redis'], 'L2 of processes that have not all heard of another registry', ({ redis }) => {
  let before: TenantStore
  let now: TenantStore
  let id: string
  let prefix: string

  beforeEach(async () => {
    prefix = uniquePrefix()
    before = createMemoryTenantStore()
    now = createMemoryTenantStore()
    const tenant = newTenant({ identifier: 'acme', status: 'active' })
    id = tenant.id
    await now.insert(tenant)
    await now.setStatus(id, 'suspended')
    await before.insert(tenant)
    for (const name of ['a', 'b', 'c', 'd']) await before.update(id, { name })
  })

  /** One process on the registry of before, as it starts; `move` is the moment in which it learns of the one of now. */
  async function start() {
    let registry = before
    const slow = createSlowStore(routedStore(() => registry))
    const shared = await sharedOn(redis.url, prefix)
    let time = 0
    const cache = createTenantCache({ maxSize: 100, ttlSeconds: 60, now: () => time })
    const store = createCachedTenantStore({ store: slow.store, cache, l2: { shared, store: slow.store } })
    const position = (await store.changes?.())?.position
    /** Past L1, which forgets what it holds but not what it knows. */
    const resolve = () => {
      time += 61_000
      return store.resolve('acme')
    }
    return {
      store,
      resolve,
      /** Reads until L2 answers. */
      warm: () =>
        until(async () => {
          const reads = slow.reads()
          await resolve()
          return slow.reads() === reads
        }),
      async move() {
        registry = now
        expect(await store.changes?.(position)).toMatchObject({ reset: true })
        await sleep(STEP_MS + 50)
      },
    }
  }

  it('[W40] serves nobody what the other one reads from the registry of before', async () => {
    const [one, other] = [await start(), await start()]
    await one.move()
    // The first points to the tenant, the second asks L2 for it: from here on L1 knows what it knew when.
    await one.resolve()
    await one.resolve()
    await other.warm()
    expect(await one.resolve()).toMatchObject({ status: 'suspended', version: 2 })
    expect(await one.store.resolveById(id)).toMatchObject({ status: 'suspended', version: 2 })
  })

  it('[W40] tells who reads there what is true there, and who reads here what is true here', async () => {
    const [one, other] = [await start(), await start()]
    await one.move()
    await other.warm()
    await one.warm()
    expect(await other.resolve()).toMatchObject({ status: 'active', version: 5 })
    await one.store.setStatus(id, 'active')
    await other.store.setStatus(id, 'suspended')
    expect(await one.resolve()).toMatchObject({ status: 'active', version: 3 })
    expect(await other.resolve()).toMatchObject({ status: 'suspended', version: 6 })
  })

  it('shares what is read from the registry of now, though its version is lower than that of before', async () => {
    const [one, two, other] = [await start(), await start(), await start()]
    await one.move()
    await two.move()
    await other.warm()
    await other.store.update(id, { name: 'e' })
    await one.warm()
    await two.warm()
    expect(await two.resolve()).toMatchObject({ status: 'suspended', version: 2 })
  })
})
