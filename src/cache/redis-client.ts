import type { Cluster, ClusterOptions, Redis, RedisOptions } from 'ioredis'
import type { RedisClient } from '../contracts/redis.ts'
import { tenancyError } from '../errors.ts'
import { loadPeer } from '../util/load-peer.ts'
import { parseRedisUrl, type RedisTarget } from '../util/redis-url.ts'
import type { Secret } from '../util/secret.ts'

/** What {@link createRedisClient} takes. */
export interface RedisClientOptions {
  /** One of `redisUrlForms`. */
  readonly url: Secret
  /** Longest wait for the answer to a command, in milliseconds. Default 250. */
  readonly commandTimeoutMs?: number
  /** What `CLIENT LIST` shows. */
  readonly connectionName?: string
}

/** ioredis connects with patience: a slow first turn is no reason to try for ever. */
const CONNECT_TIMEOUT_MS = 2000

const COMMAND_TIMEOUT_MS = 250
const LONGEST_PAUSE_MS = 1000
const MAX_REDIRECTIONS = 4

/**
 * A client for `redisUrl` that is not connected yet. It reconnects for ever, queues nothing while it is not connected, and
 * sends no command again that may have been carried out. In a cluster it talks to masters only: a replica may be behind.
 * Errors of the connection are told by `close` and by the commands that fail.
 * @throws TENANCY_ERR_PEER_MISSING, TENANCY_ERR_CONFIG_INVALID
 */
export async function createRedisClient(options: RedisClientOptions): Promise<RedisClient> {
  const target = parseRedisUrl(options.url.reveal())
  if (target === undefined) throw tenancyError('TENANCY_ERR_CONFIG_INVALID', ['- redisUrl: not a URL of a Redis.'])
  const ioredis = await loadPeer('ioredis', () => import('ioredis'))
  const client: Redis | Cluster =
    target.layout === 'cluster'
      ? new ioredis.Cluster([...target.nodes], clusterOptions(target, options))
      : new ioredis.Redis(serverOptions(target, options))
  // Without a listener, ioredis prints each of them.
  client.on('error', () => {})
  return client as RedisClient
}

function common(target: RedisTarget, options: RedisClientOptions): RedisOptions {
  const { commandTimeoutMs = COMMAND_TIMEOUT_MS, connectionName } = options
  return {
    ...(target.username !== undefined && { username: target.username }),
    ...(target.password !== undefined && { password: target.password }),
    ...(target.tls && { tls: {}, enableTLSForSentinelMode: true }),
    ...(connectionName !== undefined && { connectionName }),
    commandTimeout: commandTimeoutMs,
    connectTimeout: CONNECT_TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
  }
}

function serverOptions(target: RedisTarget, options: RedisClientOptions): RedisOptions {
  const [{ host, port }] = target.nodes
  return {
    ...common(target, options),
    ...(target.layout === 'sentinel'
      ? { sentinels: [...target.nodes], name: target.master as string, sentinelRetryStrategy: pause }
      : { host, port }),
    db: target.database,
    lazyConnect: true,
    enableOfflineQueue: false,
    retryStrategy: pause,
  }
}

function clusterOptions(target: RedisTarget, options: RedisClientOptions): ClusterOptions {
  return {
    redisOptions: common(target, options),
    lazyConnect: true,
    enableOfflineQueue: false,
    scaleReads: 'master',
    maxRedirections: MAX_REDIRECTIONS,
    slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    clusterRetryStrategy: pause,
  }
}

/** Milliseconds before the next attempt: longer each time, and not the same for all processes. */
function pause(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 10), LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2)
}
