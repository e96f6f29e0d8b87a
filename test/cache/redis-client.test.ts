import { randomUUID } from 'node:crypto'
import { expect, it, onTestFinished } from 'vitest'
import { createRedisClient } from '../../src/cache/redis-client.ts'
import type { RedisClient } from '../../src/contracts/redis.ts'
import { secret } from '../../src/util/secret.ts'
import { until } from '../faults/fixture.ts'
import { freePort } from '../servers/process.ts'
import { startRedis, startRedisCluster } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'

async function clientOf(url: string, commandTimeoutMs?: number): Promise<RedisClient> {
  const client = await createRedisClient({
    url: secret(url),
    ...(commandTimeoutMs !== undefined && { commandTimeoutMs }),
    connectionName: 'tenancy-test',
  })
  onTestFinished(() => client.disconnect())
  return client
}

async function connected(url: string, commandTimeoutMs?: number): Promise<RedisClient> {
  const client = await clientOf(url, commandTimeoutMs)
  await client.connect()
  return client
}

describeWith(['redis'], 'createRedisClient', ({ redis }) => {
  it('connects when told, takes commands, and is named', async () => {
    const client = await clientOf(redis.url)
    expect(client.status).toBe('wait')
    await client.connect()
    expect(client.status).toBe('ready')
    expect(await client.call('echo', 'here')).toBe('here')
    expect(await client.call('client', 'getname')).toBe('tenancy-test')
  })

  it('uses the database of the URL', async () => {
    const key = randomUUID()
    await (await connected(`${redis.url}/3`)).call('set', key, 'three', 'px', 10_000)
    expect(await (await connected(`${redis.url}/3`)).call('get', key)).toBe('three')
    expect(await (await connected(redis.url)).call('get', key)).toBeNull()
  })

  it('says no to a URL of something else, and does not show it', async () => {
    await expect(clientOf('http://:hunter2@cache')).rejects.toMatchObject({
      code: 'TENANCY_ERR_CONFIG_INVALID',
      message: expect.not.stringContaining('hunter2'),
    })
  })

  it('sends name and password', async () => {
    const server = await startRedis({ user: 'app on >s3cret ~* &* +@all' })
    onTestFinished(() => server.stop())
    const at = (account: string) => `redis://${account}@127.0.0.1:${server.port}`
    expect(await (await connected(at('app:s3cret'))).call('acl', 'whoami')).toBe('app')
    const wrong = await clientOf(at('app:wrong'))
    await wrong.connect().catch(() => {})
    await expect(wrong.call('get', 'x')).rejects.toThrow()
  })

  it('does not wait where nothing listens, nor for an answer that does not come', async () => {
    const nowhere = await clientOf(`redis://127.0.0.1:${await freePort()}`)
    await expect(nowhere.connect()).rejects.toThrow()
    const begun = performance.now()
    await expect(nowhere.call('get', 'x')).rejects.toThrow()
    expect(performance.now() - begun).toBeLessThan(100)

    const server = await startRedis()
    onTestFinished(() => server.stop())
    const client = await connected(server.url, 100)
    process.kill(server.pid() as number, 'SIGSTOP')
    const late = performance.now()
    await expect(client.call('get', 'x')).rejects.toThrow()
    expect(performance.now() - late).toBeLessThan(1000)
    process.kill(server.pid() as number, 'SIGCONT')
    await until(() =>
      client.call('echo', 'back').then(
        () => true,
        () => false,
      ),
    )
  })

  it('connects again by itself, also when Redis was away at the start, and listens again', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const subscriber = await connected(server.url)
    const heard: string[] = []
    subscriber.on('message', (channel, message) => heard.push(`${channel} ${message}`))
    await subscriber.subscribe('news')
    await server.kill()
    const late = await clientOf(server.url)
    await expect(late.connect()).rejects.toThrow()
    await until(() => subscriber.status !== 'ready')
    await server.restart()
    await until(() => late.status === 'ready' && subscriber.status === 'ready')
    await until(async () => (await late.call('publish', 'news', 'two')) === 1)
    await until(() => heard.includes('news two'))
  })

  it.each([1, 3])('works with a cluster of %i, found by one of its nodes', async (size) => {
    const cluster = await startRedisCluster(size)
    onTestFinished(() => cluster.stop())
    const [first] = cluster.nodes
    const client = await connected(`redis+cluster://127.0.0.1:${first?.port}`)
    for (let key = 0; key < 20; key++) {
      expect(await client.call('eval', "return redis.call('set', KEYS[1], ARGV[1])", 1, `k${key}`, key)).toBe('OK')
      expect(await client.call('get', `k${key}`)).toBe(String(key))
    }
    const subscriber = await connected(cluster.url)
    const heard: string[] = []
    subscriber.on('message', (_channel, message) => heard.push(message))
    await subscriber.subscribe('news')
    await until(async () => {
      await client.call('publish', 'news', 'one')
      return heard.includes('one')
    })
  })
})
