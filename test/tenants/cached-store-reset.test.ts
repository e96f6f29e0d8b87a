import { setImmediate as nextTurn } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import type { TenantCache } from '../../src/contracts/cache.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { type CachedTenantStore, createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { gate } from '../faults/fixture.ts'
import { newTenant } from '../conformance/store.ts'

/** In the registry of before the tenant is active, in a later version than in the one of now, where it is suspended. */
describe('[W40] what a registry says after another one has taken its place', () => {
  let before: TenantStore
  let now: TenantStore
  /** Where a call goes that begins now. */
  let current: TenantStore
  /** What calls of a name wait for once they have their answer. */
  let late: Partial<Record<keyof TenantStore, Promise<void>>>
  let id: string
  let position: { readonly first: string; readonly last: string }
  let cache: TenantCache
  let heard: Tenant[]
  let store: CachedTenantStore

  const positionOf = async (of: TenantStore) => (await of.changes?.())?.position ?? expect.fail()

  async function call(name: keyof TenantStore, parameters: readonly unknown[]): Promise<unknown> {
    const wait = late[name]
    const answer = await (current[name] as (...parameters: readonly unknown[]) => unknown)(...parameters)
    await wait
    return answer
  }

  beforeEach(async () => {
    before = createMemoryTenantStore()
    now = createMemoryTenantStore()
    const tenant = newTenant({ identifier: 'acme', status: 'active' })
    id = tenant.id
    await now.insert(tenant)
    await now.setStatus(id, 'suspended')
    await before.insert(tenant)
    const first = await positionOf(before)
    for (const name of ['a', 'b', 'c', 'd']) await before.update(id, { name })
    position = { first, last: await positionOf(before) }
    current = before
    late = {}
    heard = []
    cache = createTenantCache({ maxSize: 10, ttlSeconds: 60 })
    const names = Object.keys(now) as (keyof TenantStore)[]
    const routed = names.map((name) => [name, (...parameters: readonly unknown[]) => call(name, parameters)])
    store = createCachedTenantStore({
      store: Object.fromEntries(routed) as TenantStore,
      cache,
      onChange: (changed) => heard.push(changed),
    })
  })

  const calls: readonly (readonly [keyof TenantStore, string, () => Promise<unknown>])[] = [
    ['changes', 'changes', async () => store.changes?.(position.first)],
    ['getByIds', 'refresh', () => store.refresh([id])],
    ['getByIds', 'getByIds', () => store.getByIds([id])],
    ['list', 'list', () => store.list()],
    ['list', 'preload', () => store.preload(5)],
    ['getById', 'getById', () => store.getById(id)],
    ['getById', 'resolveById', () => store.resolveById(id)],
    ['getByIdentifier', 'getByIdentifier', () => store.getByIdentifier('acme')],
    ['getByIdentifier', 'resolve', () => store.resolve('acme')],
    ['update', 'update', () => store.update(id, { name: 'e' })],
  ]

  describe.each([true, false])('to a process that holds the tenant anew: %s', (holds) => {
    it.each(calls)('in answer to %s, by %s, is believed nowhere', async (name, _, ask) => {
      const { open, passed } = gate()
      late = { [name]: passed }
      const answer = ask().catch((error: unknown) => error)
      await nextTurn()
      late = {}
      current = now
      expect(await store.changes?.(position.last)).toMatchObject({ reset: true })
      if (holds) await store.getById(id)
      open()
      const given = await answer
      if (given instanceof Error) expect(given).toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
      else if (given !== undefined) expect(given).toMatchObject({ id, status: 'suspended' })
      expect(heard.filter(({ status }) => status === 'active')).toEqual([])
      expect(cache.peek('acme')?.status).not.toBe('active')
      // No floor of before stays: what comes next is heard, though its version is lower.
      const latest = await positionOf(now)
      await now.setStatus(id, 'active')
      await store.changes?.(latest)
      expect(heard.at(-1)).toMatchObject({ status: 'active', version: 3 })
    })
  })

  it('is not believed either when both answer in the same moment', async () => {
    const { open, passed } = gate()
    late = { changes: passed, getByIds: passed }
    current = now
    const reset = store.changes?.(position.last)
    await nextTurn()
    current = before
    const refreshed = expect(store.refresh([id])).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
    await nextTurn()
    open()
    await reset
    await refreshed
    expect(heard).toEqual([])
  })
})
