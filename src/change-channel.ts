import { connectRedisChanges } from './cache/redis-change-connection.ts'
import type { TenancyConfig } from './config.ts'
import type { ChangeChannel } from './contracts/changes.ts'
import type { DatabaseServer } from './contracts/dialect.ts'
import { changeChannelQuery } from './tenants/registry-migrations.ts'
import { createChangeChannel } from './util/change-channel.ts'

type Config = Pick<TenancyConfig, 'changeChannel' | 'redisUrl' | 'redisKeyPrefix' | 'registrySchema' | 'tenantStore'>
type Server = Pick<DatabaseServer, 'registry'>

/** How changed tenants are told to other processes, not opened yet; undefined where the registry is asked instead. */
export function configuredChannel(config: Config, server: Server): ChangeChannel | undefined {
  const { changeChannel, redisUrl, redisKeyPrefix: keyPrefix, tenantStore, registrySchema } = config
  if (changeChannel === 'poll' || !isWrittenElsewhere(config, server)) return undefined
  const listen = tenantStore === undefined ? server.registry.listen : undefined
  // What the database tells comes with the commit and cannot be lost, so it is better where there are both.
  if (listen !== undefined && changeChannel !== 'redis') {
    return createChangeChannel(listen(changeChannelQuery(registrySchema)), true)
  }
  return redisUrl === undefined
    ? undefined
    : createChangeChannel(connectRedisChanges({ url: redisUrl, keyPrefix }), false)
}

/** Whether another process can write the registry. */
export function isWrittenElsewhere({ tenantStore }: Pick<Config, 'tenantStore'>, { registry }: Server): boolean {
  return tenantStore !== undefined || registry.exclusive !== true
}
