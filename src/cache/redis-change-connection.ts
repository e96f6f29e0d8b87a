import { randomUUID } from 'node:crypto'
import type { ConnectChannel } from '../contracts/changes.ts'
import type { RedisClient } from '../contracts/redis.ts'
import { tenancyError } from '../errors.ts'
import { inTime } from '../util/in-time.ts'
import type { Secret } from '../util/secret.ts'
import { createRedisClient } from './redis-client.ts'

/** Where changes are told. */
export interface RedisChangeOptions {
  readonly url: Secret
  /** What the names of the channels begin with. */
  readonly keyPrefix: string
}

/** Longest wait for Redis to take commands. */
const CONNECT_TIMEOUT_MS = 2000

const silent = () => tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')

/** Two clients, because one that listens takes no other commands. Beats have a channel of their own: nobody else hears them. */
export function connectRedisChanges({ url, keyPrefix }: RedisChangeOptions): ConnectChannel {
  const changes = `${keyPrefix}:changes`
  return async ({ changed, heard, lost }) => {
    const beats = `${keyPrefix}:beat:${randomUUID()}`
    const clients: RedisClient[] = []
    const close = () => {
      for (const client of clients) client.disconnect()
    }
    const open = async (): Promise<RedisClient> => {
      const client = await createRedisClient({ url, connectionName: 'fastify-tenancy changes' })
      clients.push(client)
      await inTime(ready(client), CONNECT_TIMEOUT_MS, silent)
      client.on('close', lost)
      return client
    }
    try {
      const [listening, sending] = await Promise.all([open(), open()])
      listening.on('message', (channel, message) => (channel === changes ? changed(message) : heard(Number(message))))
      await inTime(Promise.all([listening.subscribe(changes), listening.subscribe(beats)]), CONNECT_TIMEOUT_MS, silent)
      const send = (channel: string, message: string | number) => {
        sending.call('PUBLISH', channel, message).catch(() => {})
      }
      return Object.freeze({
        beat: (number: number) => send(beats, number),
        announce: (id: string) => send(changes, id),
        close,
      })
    } catch (error) {
      close()
      throw error
    }
  }
}

/** Resolves when commands are taken, which in a cluster is later than connected. */
async function ready(client: RedisClient): Promise<void> {
  const taken = new Promise<void>((resolve) => client.on('ready', resolve))
  await client.connect()
  if (client.status !== 'ready') await taken
}
