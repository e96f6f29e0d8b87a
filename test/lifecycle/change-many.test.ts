import { describe, expect, it } from 'vitest'
import type { TenantRef } from '../../src/context.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { tenancyError } from '../../src/errors.ts'
import { changeMany } from '../../src/lifecycle/change-many.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { newTenant } from '../conformance/store.ts'

describe('changeMany', () => {
  const idOf = (ref: TenantRef) => (typeof ref === 'string' ? ref : ref.id)

  it('gives a result for each, in their order, and lets none keep another from its change', async () => {
    const store = createMemoryTenantStore()
    const tenants: Tenant[] = []
    for (const status of ['active', 'deleted', 'active', 'suspended', 'active'] as const) {
      tenants.push(await store.insert(newTenant({ status })))
    }
    const refs = [...tenants, { id: 'nobody' }]
    const results = await changeMany(refs, (ref) => store.setStatus(idOf(ref), 'suspended'))
    expect(results.map(({ ref }) => ref)).toEqual(refs)
    const told = results.map(({ tenant, error }) => tenant?.status ?? (error as { code: string }).code)
    expect(told).toEqual([
      'suspended',
      'TENANCY_ERR_STATUS_TRANSITION',
      'suspended',
      'TENANCY_ERR_STATUS_TRANSITION',
      'suspended',
      'TENANCY_ERR_TENANT_NOT_FOUND',
    ])
    expect(await store.count('suspended')).toBe(4)
  })

  it('has few under way at once', async () => {
    let [running, most] = [0, 0]
    await changeMany(
      Array.from({ length: 50 }, (_, n) => `t-${n}`),
      async () => {
        most = Math.max(most, ++running)
        await new Promise((resolve) => setTimeout(resolve, 1))
        running--
        return {} as Tenant
      },
    )
    expect([running, most]).toEqual([0, 3])
  })

  it('tries none any more once the registry is gone, and says so of each', async () => {
    let tried = 0
    const down = tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
    const refs = Array.from({ length: 50 }, (_, n) => `t-${n}`)
    const results = await changeMany(refs, async () => {
      if (++tried > 10) throw down
      return {} as Tenant
    })
    expect(tried).toBeLessThan(14)
    expect(results.filter(({ error }) => error === down)).toHaveLength(40)
    expect(results.map(({ ref }) => ref)).toEqual(refs)
  })

  it('tells whatever else was thrown as the result of that one', async () => {
    const odd = new RangeError('odd')
    const results = await changeMany(['a', 'b'], (ref) =>
      ref === 'a' ? Promise.reject(odd) : Promise.resolve({} as Tenant),
    )
    expect(results).toEqual([
      { ref: 'a', error: odd },
      { ref: 'b', tenant: {} },
    ])
  })
})
