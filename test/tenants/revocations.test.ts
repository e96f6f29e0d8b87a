import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { createRevocations, type Revocations } from '../../src/tenants/revocations.ts'
import { newTenant } from '../conformance/store.ts'

describe('createRevocations', () => {
  const store = createMemoryTenantStore()
  let revocations: Revocations
  beforeEach(() => {
    revocations = createRevocations()
  })
  const suspended = async (): Promise<{ active: Tenant; suspended: Tenant }> => {
    const active = await store.insert(newTenant({ status: 'active' }))
    return { active, suspended: await store.setStatus(active.id, 'suspended') }
  }

  it('[W40] keeps a tenant revoked until a newer version is active', async () => {
    const was = await suspended()
    const { id } = was.active
    expect(revocations.learn(was.active)).toBe(false)
    expect(revocations.learn(was.suspended)).toBe(true)
    revocations.learn(was.active)
    expect(revocations.has(id)).toBe(true)
    expect(revocations.learn(await store.setStatus(id, 'active'))).toBe(false)
    expect(revocations.has(id)).toBe(false)
  })

  it('remembers nothing of one that was never served, or it would stay when it is discarded', async () => {
    const { id, ...tenant } = await store.insert(newTenant())
    expect(revocations.learn({ id, ...tenant })).toBe(false)
    expect([revocations.has(id), revocations.doubt().size]).toEqual([false, 0])
  })

  it('believes any version once it doubts, and none before', async () => {
    const was = await suspended()
    const { id } = was.active
    revocations.learn({ ...was.suspended, version: 100 })
    expect([...revocations.doubt()]).toEqual([id])
    expect(revocations.has(id)).toBe(true)
    revocations.learn(was.active)
    expect(revocations.has(id)).toBe(false)
    revocations.revoke(id)
    expect(revocations.has(id)).toBe(true)
  })

  it('doubts of whom a database is held, until nobody holds one', async () => {
    setFlagsFromString('--expose-gc')
    const collectGarbage = runInNewContext('gc') as () => void
    const holders: object[] = []
    const hold = (id: string) => {
      const holder = {}
      revocations.hold(id, holder)
      return holder
    }
    holders.push(hold('acme'), hold('acme'))
    hold('beta')
    const doubted = async () => {
      await sleep(10)
      collectGarbage()
      await sleep(10)
      return [...revocations.doubt()]
    }
    expect(await doubted()).toEqual(['acme'])
    holders.length = 1
    expect(await doubted()).toEqual(['acme'])
    holders.length = 0
    expect(await doubted()).toEqual([])
    expect(revocations.has('acme')).toBe(false)
  })
})
