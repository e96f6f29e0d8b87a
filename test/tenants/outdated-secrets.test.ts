import { expect, it } from 'vitest'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { outdatedSecrets, secretsOpen } from '../../src/tenants/outdated-secrets.ts'
import { newTenant } from '../conformance/store.ts'

it('looks through lists that are longer than a call takes parameters: one tenant must not stop a rotation', async () => {
  const metadata = { points: Array.from({ length: 200_000 }, () => 0) }
  const tenant = await createMemoryTenantStore().insert(newTenant({ metadata }))
  expect(await outdatedSecrets(tenant)).toEqual({})
  expect(await secretsOpen(tenant)).toBe(true)
})
