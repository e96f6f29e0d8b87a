import { chown, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { freePort, type RunningServer, serverUser, startServer } from './process.ts'
import { type Program, provision } from './provision.ts'

export interface RunningRedis extends RunningServer {
  readonly url: string
}

const redis: Program = {
  name: 'Redis',
  waiver: 'redis',
  binary: 'redis-server',
  folders: ['/usr/bin', '/opt/homebrew/bin', '/usr/local/bin'],
  inPath: true,
  aptPackage: 'redis-server',
}

/** Settings of `redis.conf` by name; a value may be several words. */
export type RedisSettings = Readonly<Record<string, string>>

/** Starts a throw-away Redis that keeps everything in memory, unless told otherwise: after `kill()` or `restart()` it is empty. */
export async function startRedis(more: RedisSettings = {}): Promise<RunningRedis> {
  const file = await provision(redis)
  const server = await startServer({
    name: 'Redis',
    file,
    args: (folder, port) => {
      const settings = { port: String(port), bind: '127.0.0.1', dir: folder, save: '', appendonly: 'no', ...more }
      return Object.entries(settings).flatMap(([name, value]) => [
        `--${name}`,
        ...(value === '' ? [''] : value.split(' ')),
      ])
    },
    ready: /Ready to accept connections/,
    stopSignal: 'SIGKILL',
  })
  return { ...server, url: `redis://127.0.0.1:${server.port}` }
}

/** A cluster of masters that share all slots. */
export interface RunningRedisCluster {
  readonly nodes: readonly RunningRedis[]
  readonly url: string
  readonly stop: () => Promise<void>
}

/** Starts a throw-away cluster of `size` masters, without replicas. */
export async function startRedisCluster(size: number): Promise<RunningRedisCluster> {
  const nodes = await Promise.all(
    Array.from({ length: size }, async () =>
      startRedis({
        'cluster-enabled': 'yes',
        'cluster-port': String(await freePort()),
        'cluster-announce-ip': '127.0.0.1',
      }),
    ),
  )
  const clients = nodes.map(({ url }) => new Redis(url))
  try {
    const busPorts = await Promise.all(
      clients.map(async (client) => ((await client.config('GET', 'cluster-port')) as [string, string])[1]),
    )
    const step = Math.ceil(16_384 / size)
    for (const [index, client] of clients.entries()) {
      await client.call('cluster', 'addslotsrange', index * step, Math.min((index + 1) * step, 16_384) - 1)
      await client.call('cluster', 'set-config-epoch', index + 1)
    }
    for (const [index, { port }] of nodes.entries()) {
      if (index > 0) await clients[0]?.call('cluster', 'meet', '127.0.0.1', port, busPorts[index] as string)
    }
    const deadline = Date.now() + 20_000
    const settled = async () => {
      const states = await Promise.all(clients.map((client) => client.cluster('INFO')))
      return states.every((text) => text.includes('cluster_state:ok') && text.includes(`cluster_known_nodes:${size}`))
    }
    while (!(await settled())) {
      if (Date.now() > deadline) throw new Error('The Redis cluster did not come together.')
      await sleep(50)
    }
  } finally {
    for (const client of clients) client.disconnect()
  }
  return {
    nodes,
    url: `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    stop: async () => void (await Promise.all(nodes.map((node) => node.stop()))),
  }
}

/** Starts a throw-away sentinel that alone decides when the master is down, after half a second. */
export async function startSentinel(master: string, masterPort: number): Promise<RunningServer> {
  return startServer({
    name: 'Redis Sentinel',
    file: await provision(redis),
    args: (folder) => [join(folder, 'sentinel.conf'), '--sentinel'],
    async configure(folder, port) {
      const lines = [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${folder}`,
        `sentinel monitor ${master} 127.0.0.1 ${masterPort} 1`,
        `sentinel down-after-milliseconds ${master} 500`,
        `sentinel failover-timeout ${master} 3000`,
      ]
      const file = join(folder, 'sentinel.conf')
      await writeFile(file, `${lines.join('\n')}\n`)
      const { uid, gid } = serverUser()
      if (uid !== undefined && gid !== undefined) await chown(file, uid, gid)
    },
    ready: /\+monitor master/,
    stopSignal: 'SIGKILL',
  })
}
