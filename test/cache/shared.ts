import { randomBytes, randomUUID } from 'node:crypto'
import { onTestFinished } from 'vitest'
import { createRedisClient } from '../../src/cache/redis-client.ts'
import { createRedisTenantCache, type RedisTenantCacheOptions } from '../../src/cache/redis-tenant-cache.ts'
import { createTenantCodec } from '../../src/cache/tenant-codec.ts'
import type { RedisClient } from '../../src/contracts/redis.ts'
import type { Lease, SharedTenantCache } from '../../src/contracts/shared-cache.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { secret } from '../../src/util/secret.ts'
import { newTenant } from '../conformance/store.ts'
import { until } from '../faults/fixture.ts'

export const registryKey = randomBytes(32)

/** A prefix no other test has. */
export const uniquePrefix = (): string => `t${randomUUID().slice(0, 8)}`

/** L2 of one process, connected or not. */
export async function startShared(
  url: string,
  prefix: string,
  more: Partial<RedisTenantCacheOptions> & { readonly key?: Uint8Array } = {},
): Promise<SharedTenantCache> {
  const { key = registryKey, ...options } = more
  const cache = createRedisTenantCache({
    client: () => createRedisClient({ url: secret(url), commandTimeoutMs: 2000 }),
    codec: async () => createTenantCodec(key),
    prefix,
    ttlSeconds: 60,
    ...options,
  })
  onTestFinished(() => cache.close())
  await cache.open()
  return cache
}

/** L2 of one process, in use. */
export async function sharedOn(...parameters: Parameters<typeof startShared>): Promise<SharedTenantCache> {
  const cache = await startShared(...parameters)
  await isOn(cache)
  return cache
}

export const isOn = (cache: SharedTenantCache): Promise<void> => until(() => cache.stats().state === 'on')
export const isOff = (cache: SharedTenantCache): Promise<void> => until(() => cache.stats().state !== 'on')

/** A tenant as a store gives it. */
export function tenantOf(change: Partial<Tenant> = {}): Tenant {
  const now = new Date().toISOString()
  return { ...newTenant({ status: 'active' }), version: 1, createdAt: now, updatedAt: now, ...change }
}

/** A lease for what L2 does not hold. */
export async function leaseFor(cache: SharedTenantCache, id: string): Promise<Lease> {
  const { lease } = await cache.read(id, Number.POSITIVE_INFINITY)
  if (lease === undefined) throw new Error('L2 gave no lease.')
  return lease
}

/** Puts a tenant into L2, as if it was just read from the store. */
export async function put(cache: SharedTenantCache, tenant: Tenant): Promise<void> {
  await cache.fill(tenant, await leaseFor(cache, tenant.id))
}

export const heldBy = async (cache: SharedTenantCache, id: string): Promise<Tenant | undefined> =>
  (await cache.read(id, Number.POSITIVE_INFINITY)).tenant

/** The server as its administrator sees it. */
export async function rawRedis(url: string): Promise<RedisClient> {
  const client = await createRedisClient({ url: secret(url), commandTimeoutMs: 5000 })
  onTestFinished(() => client.disconnect())
  await client.connect()
  return client
}
