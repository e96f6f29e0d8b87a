import { setImmediate as nextTurn } from 'node:timers/promises'
import { createRedisClient } from '../../src/cache/redis-client.ts'
import { createRedisTenantCache } from '../../src/cache/redis-tenant-cache.ts'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import { createTenantCodec } from '../../src/cache/tenant-codec.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { secret } from '../../src/util/secret.ts'
import { isOn, registryKey } from '../cache/shared.ts'

/**
 * A store behind L1 and L2, as one process has it. Each read by id or identifier is answered by L2 where that can, because
 * what L1 holds has always just expired.
 */
export function behindRedis(store: TenantStore, url: string, prefix: string): TenantStore {
  const shared = createRedisTenantCache({
    client: () => createRedisClient({ url: secret(url), commandTimeoutMs: 2000 }),
    codec: async () => createTenantCodec(registryKey),
    prefix,
    ttlSeconds: 60,
  })
  let time = 0
  const cache = createTenantCache({ maxSize: 10, ttlSeconds: 60, now: () => time })
  const cached = createCachedTenantStore({ store, cache, l2: { shared, store } })
  const expired = <T>(read: () => Promise<T>): Promise<T> => {
    time += 61_000
    return read()
  }
  return {
    ...cached,
    async initialize() {
      await cached.initialize()
      await shared.open()
      await isOn(shared)
    },
    // A registry in memory answers without a turn of the event loop, and who reads in a circle would starve Redis.
    ...(cached.changes && { changes: (after?: string) => nextTurn().then(() => cached.changes?.(after) as never) }),
    getById: (id) => expired(() => cached.resolveById(id)),
    getByIdentifier: (identifier) => expired(() => cached.resolve(identifier)),
    async close() {
      await shared.close()
      await cached.close()
    },
  }
}
