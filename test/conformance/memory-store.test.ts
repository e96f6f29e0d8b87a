import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import { createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { uniquePrefix } from '../cache/shared.ts'
import { describeWith } from '../servers/suite.ts'
import { behindRedis } from './shared-store.ts'
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

describeWith(['redis'], 'with Redis', ({ redis }) => {
  describeTenantStore('memory behind L1 and L2', async () => {
    const store = createMemoryTenantStore()
    const prefix = uniquePrefix()
    return { open: () => behindRedis(store, redis.url, prefix), drop: async () => {} }
  })
})
