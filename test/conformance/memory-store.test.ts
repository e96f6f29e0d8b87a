import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import { createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { describeTenantStore } from './store.ts'

describeTenantStore('memory', async () => {
  const store = createMemoryTenantStore()
  return { open: () => store, drop: async () => {} }
})

describeTenantStore('cached memory', async () => {
  const store = createMemoryTenantStore()
  const open = () => createCachedTenantStore({ store, cache: createTenantCache({ maxSize: 10, ttlSeconds: 60 }) })
  return { open, drop: async () => {} }
})
