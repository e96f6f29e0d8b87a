import { scrypt } from 'node:crypto'
import { promisify } from 'node:util'
import { createRedisClient } from './cache/redis-client.ts'
import { createRedisTenantCache } from './cache/redis-tenant-cache.ts'
import { createTenantCodec, type TenantCodec } from './cache/tenant-codec.ts'
import type { TenancyConfig } from './config.ts'
import type { SharedTenantCache } from './contracts/shared-cache.ts'

type Settings = Pick<
  TenancyConfig,
  'adminDatabaseUrl' | 'cacheEnabled' | 'cacheTtl' | 'databaseUrl' | 'redisKeyPrefix' | 'redisUrl' | 'registrySchema'
>

/** When ioredis gives up an answer that the cache has long stopped to wait for. */
const LATEST_MS = 2000

const AWAY = 'Redis is not used for the tenant cache'

/** L2, or undefined where the configuration wants none. */
export function configuredSharedCache(
  settings: Settings,
  log: { warn(message: string): void },
): SharedTenantCache | undefined {
  const { cacheEnabled, cacheTtl, redisKeyPrefix, redisUrl } = settings
  if (!cacheEnabled || redisUrl === undefined) return undefined
  let away = false
  return createRedisTenantCache({
    client: () => createRedisClient({ url: redisUrl, commandTimeoutMs: LATEST_MS, connectionName: 'fastify-tenancy' }),
    codec: () => codecOf(settings),
    prefix: redisKeyPrefix,
    ttlSeconds: cacheTtl,
    onChange(state, code) {
      if (state === 'off') log.warn(`${AWAY}: ${code}. Tenants are read from the registry until it works again.`)
      else if (away) log.warn('Redis is used for the tenant cache again.')
      away = state === 'off'
    },
  })
}

/**
 * The key is of the registry: what leads to it, passwords included. It is stretched, so that nobody who reads Redis can
 * try passwords quickly.
 */
async function codecOf({ databaseUrl, adminDatabaseUrl, registrySchema }: Settings): Promise<TenantCodec> {
  const place = JSON.stringify([databaseUrl.reveal(), adminDatabaseUrl.reveal(), registrySchema])
  const key = await promisify<string, string, number, Buffer>(scrypt)(place, 'fastify-tenancy tenant cache', 32)
  return createTenantCodec(key)
}
