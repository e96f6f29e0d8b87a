import { expect, it } from 'vitest'
import { createTenantCodec } from '../../src/cache/tenant-codec.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { newTenant } from '../conformance/store.ts'

const codec = createTenantCodec(Buffer.alloc(32, 'k'))

it('gives back what it was given, to who asks for that tenant of that incarnation', async () => {
  const tenant = await createMemoryTenantStore().insert(newTenant({ metadata: { plan: 'pro' } }))
  const text = codec.encode(tenant, 'one') ?? ''
  expect(codec.decode(text, tenant.id, 'one')).toEqual(tenant)
  expect(codec.decode(text, newTenant().id, 'one')).toBeUndefined()
  expect(codec.decode(text, tenant.id, 'two')).toBeUndefined()
})

it('shares nothing that is nested too deep to compare, and does not throw', async () => {
  const tenant = await createMemoryTenantStore().insert(newTenant())
  let deep: unknown = 1
  for (let level = 0; level < 5000; level++) deep = { deep }
  expect(codec.encode({ ...tenant, metadata: { deep } } as Tenant, '')).toBeUndefined()
})
