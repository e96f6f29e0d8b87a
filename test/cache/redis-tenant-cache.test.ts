import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { createTenantCodec } from '../../src/cache/tenant-codec.ts'
import { until } from '../faults/fixture.ts'
import { startRedis, startRedisCluster, startSentinel } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import {
  heldBy,
  isOff,
  isOn,
  leaseFor,
  put,
  rawRedis,
  registryKey,
  sharedOn,
  startShared,
  tenantOf,
  uniquePrefix,
} from './shared.ts'

describeWith(['redis'], 'createRedisTenantCache', ({ redis }) => {
  const two = async (prefix = uniquePrefix()) => Promise.all([sharedOn(redis.url, prefix), sharedOn(redis.url, prefix)])

  it('shares what one process read with another, frozen and as it was', async () => {
    const [one, other] = await two()
    const tenant = tenantOf({ metadata: { plan: 'pro', nested: { list: [1, null, 'ключ'] }, ['__proto__']: 1 } })
    await put(one, tenant)
    const found = await heldBy(other, tenant.id)
    expect(found).toEqual(tenant)
    expect(Object.isFrozen(found?.metadata['nested'])).toBe(true)
    expect(other.stats()).toMatchObject({ hits: 1, misses: 0 })
    expect(one.stats()).toMatchObject({ hits: 0, misses: 1 })
    await one.point(tenant.identifier, tenant.id)
    expect(await other.idOf(tenant.identifier)).toBe(tenant.id)
    expect(await other.idOf('nobody')).toBeUndefined()
  })

  it('says as of when: not later than the store was asked', async () => {
    const [one, other] = await two()
    const tenant = tenantOf()
    const lease = await leaseFor(one, tenant.id)
    await sleep(60)
    await one.fill(tenant, lease)
    await sleep(40)
    const { asOf } = await other.read(tenant.id, Number.POSITIVE_INFINITY)
    expect(asOf).toBeLessThanOrEqual(lease.begun)
    expect(asOf).toBeGreaterThan(lease.begun - 50)
    expect(await other.read(tenant.id, 80)).toMatchObject({ lease: {} })
    expect(await other.read(tenant.id, -1)).toMatchObject({ lease: {} })
  })

  it('believes no tenant for longer than its TTL', async () => {
    const prefix = uniquePrefix()
    const [one, other] = [await sharedOn(redis.url, prefix), await sharedOn(redis.url, prefix, { ttlSeconds: 1 })]
    const tenant = tenantOf()
    await put(one, tenant)
    expect(await heldBy(other, tenant.id)).toEqual(tenant)
    await sleep(1050)
    expect(await heldBy(other, tenant.id)).toBeUndefined()
    expect(await heldBy(one, tenant.id)).toEqual(tenant)
  })

  it('keeps no key for ever', async () => {
    const prefix = uniquePrefix()
    const cache = await sharedOn(redis.url, prefix)
    const tenant = tenantOf()
    await leaseFor(cache, randomUUID())
    await put(cache, tenant)
    await cache.point(tenant.identifier, tenant.id)
    await cache.tell(randomUUID(), 3)
    const raw = await rawRedis(redis.url)
    const keys = (await raw.call('keys', `${prefix}:*`)) as string[]
    expect(keys.length).toBeGreaterThanOrEqual(4)
    for (const key of keys) {
      const life = Number(await raw.call('pttl', key))
      expect(life).toBeGreaterThan(0)
      expect(life).toBeLessThanOrEqual(300_000)
    }
  })

  it('[W41] drops what a write made old, for all, and refuses who read before it', async () => {
    const [one, other] = await two()
    const tenant = tenantOf()
    await put(one, tenant)
    const slow = await one.read(tenant.id, -1)
    await other.tell(tenant.id, 2)
    expect(await heldBy(one, tenant.id)).toBeUndefined()
    await one.fill(tenant, slow.lease as never)
    expect(await heldBy(one, tenant.id)).toBeUndefined()
    // A store that is behind, such as a replica, is not believed either.
    await put(one, tenant)
    expect(await heldBy(one, tenant.id)).toBeUndefined()
    await put(one, tenantOf({ ...tenant, version: 2, status: 'suspended' }))
    expect(await heldBy(other, tenant.id)).toMatchObject({ version: 2, status: 'suspended' })
    // Late news changes nothing.
    await other.tell(tenant.id, 1)
    expect(await heldBy(other, tenant.id)).toMatchObject({ version: 2 })
  })

  it('drops what is held when nobody knows what a write did, and refuses who read before it', async () => {
    const [one, other] = await two()
    const tenant = tenantOf({ version: 7 })
    await put(one, tenant)
    const { lease } = await one.read(tenant.id, -1)
    await other.tell(tenant.id)
    await one.fill(tenant, lease as never)
    expect(await heldBy(one, tenant.id)).toBeUndefined()
    await put(one, tenant)
    expect(await heldBy(one, tenant.id)).toEqual(tenant)
  })

  it.each(['flushed', 'evicted'])('[W41] refuses who read before a write that was forgotten: %s', async (how) => {
    const prefix = uniquePrefix()
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const cache = await sharedOn(server.url, prefix)
    const tenant = tenantOf()
    const lease = await leaseFor(cache, tenant.id)
    await cache.tell(tenant.id, 2)
    const raw = await rawRedis(server.url)
    await (how === 'flushed' ? raw.call('flushall') : raw.call('del', `${prefix}:tenant:${tenant.id}`))
    await cache.fill(tenant, lease)
    expect(await heldBy(cache, tenant.id)).toBeUndefined()
    // Now there is a lease again, but not this one.
    await cache.fill(tenant, lease)
    expect(await heldBy(cache, tenant.id)).toBeUndefined()
  })

  it('of two that read under one lease, the newer tenant stays', async () => {
    const [one, other] = await two()
    const tenant = tenantOf()
    const [first, second] = [await leaseFor(one, tenant.id), await leaseFor(other, tenant.id)]
    expect(first.token).toBe(second.token)
    await one.fill(tenantOf({ ...tenant, version: 2 }), first)
    await other.fill(tenant, second)
    expect(await heldBy(one, tenant.id)).toMatchObject({ version: 2 })
  })

  it('does not believe what was there before this process listened', async () => {
    const prefix = uniquePrefix()
    const one = await sharedOn(redis.url, prefix)
    const tenant = tenantOf()
    await put(one, tenant)
    const late = await sharedOn(redis.url, prefix)
    expect(await late.read(tenant.id, Number.POSITIVE_INFINITY)).toMatchObject({ lease: {} })
    await put(late, tenant)
    expect(await heldBy(late, tenant.id)).toEqual(tenant)
  })

  it('takes for a miss, and replaces, whatever it did not write itself', async () => {
    const prefix = uniquePrefix()
    const cache = await sharedOn(redis.url, prefix)
    const raw = await rawRedis(redis.url)
    const [tenant, twin] = [tenantOf(), tenantOf()]
    const codec = createTenantCodec(registryKey)
    const text = codec.encode(tenant, '') as string
    const payloads = [
      '',
      'null',
      '{',
      text.slice(0, -1),
      text.slice(text.indexOf('.') + 1),
      text.replace('"active"', '"suspended"'),
      codec.encode(twin, '') as string,
      codec.encode(tenant, 'another incarnation') as string,
      createTenantCodec(randomBytes(32)).encode(tenant, '') as string,
    ]
    for (const payload of payloads) {
      await put(cache, tenant)
      expect(await heldBy(cache, tenant.id)).toEqual(tenant)
      await raw.call('hset', `${prefix}:tenant:${tenant.id}`, 'p', payload)
      expect(await heldBy(cache, tenant.id), payload).toBeUndefined()
      expect(cache.stats().state).toBe('on')
    }
    await put(cache, tenant)
    expect(await heldBy(cache, tenant.id)).toEqual(tenant)
    for (const field of ['t', 'v']) {
      await raw.call('hset', `${prefix}:tenant:${tenant.id}`, field, 'x')
      await heldBy(cache, tenant.id)
      await cache.tell(tenant.id, 1)
      await put(cache, tenant)
      expect(await heldBy(cache, tenant.id)).toEqual(tenant)
      await raw.call('hdel', `${prefix}:tenant:${tenant.id}`, field)
      await heldBy(cache, tenant.id)
    }
    expect(cache.stats().state).toBe('on')
  })

  it('[W41] believes nothing of another reign but the floor, and refuses who read in it', async () => {
    const prefix = uniquePrefix()
    const cache = await sharedOn(redis.url, prefix)
    const raw = await rawRedis(redis.url)
    const tenant = tenantOf({ version: 3 })
    const ofAnotherReign = () => raw.call('hset', `${prefix}:tenant:${tenant.id}`, 'r', 'f'.repeat(40))
    await put(cache, tenant)
    await ofAnotherReign()
    expect(await heldBy(cache, tenant.id)).toBeUndefined()
    expect(await heldBy(cache, tenant.id)).toBeUndefined()
    await put(cache, { ...tenant, version: 2 })
    expect(await heldBy(cache, tenant.id)).toBeUndefined()
    const lease = await leaseFor(cache, tenant.id)
    await ofAnotherReign()
    await cache.fill(tenant, lease)
    expect(await heldBy(cache, tenant.id)).toBeUndefined()
    await put(cache, tenant)
    expect(await heldBy(cache, tenant.id)).toEqual(tenant)
  })

  it.each(['list', 'string'])('takes a key of another type for a miss, and replaces it: %s', async (type) => {
    const prefix = uniquePrefix()
    const cache = await sharedOn(redis.url, prefix)
    const raw = await rawRedis(redis.url)
    const tenant = tenantOf()
    const spoil = async () => {
      for (const key of [`${prefix}:tenant:${tenant.id}`, `${prefix}:identifier:${tenant.identifier}`]) {
        await raw.call('del', key)
        await (type === 'list' ? raw.call('rpush', key, 'x') : raw.call('set', key, 'x'))
      }
    }
    for (let round = 0; round < 4; round++) {
      await spoil()
      expect(await cache.idOf(tenant.identifier)).toBe(type === 'list' ? undefined : 'x')
      expect(await heldBy(cache, tenant.id)).toBeUndefined()
      await spoil()
      await cache.tell(tenant.id, 1)
      await spoil()
      await put(cache, tenant)
      await cache.point(tenant.identifier, tenant.id)
      expect(await heldBy(cache, tenant.id)).toEqual(tenant)
      expect(await cache.idOf(tenant.identifier)).toBe(tenant.id)
    }
    expect(cache.stats().state).toBe('on')
  })

  it('shares nothing that would not come back as it is', async () => {
    const cache = await sharedOn(redis.url, uniquePrefix())
    const tenant = tenantOf({ metadata: { secret: { toJSON: () => '[redacted]' } } })
    await put(cache, tenant)
    expect(await heldBy(cache, tenant.id)).toBeUndefined()
    await put(cache, tenantOf({ id: tenant.id }))
    expect(await heldBy(cache, tenant.id)).toBeDefined()
  })

  it('reads nothing of an app with another registry, though it shares the prefix', async () => {
    const prefix = uniquePrefix()
    const one = await sharedOn(redis.url, prefix)
    const stranger = await sharedOn(redis.url, prefix, { key: randomBytes(32) })
    const tenant = tenantOf()
    await put(one, tenant)
    expect(await heldBy(stranger, tenant.id)).toBeUndefined()
  })

  it('[W60] drops all tenants, in batches, and no other key', async () => {
    const prefix = uniquePrefix()
    const [one, other] = await two(prefix)
    const raw = await rawRedis(redis.url)
    await raw.call('set', `${prefix}:other`, 'stays')
    await raw.call('set', `${prefix}x:tenant:1`, 'stays')
    const tenants = Array.from({ length: 1000 }, () => tenantOf())
    await Promise.all(tenants.map((tenant) => put(one, tenant)))
    await Promise.all(tenants.map(({ identifier, id }) => one.point(identifier, id)))
    const { lease } = await other.read(tenants[0]?.id ?? '', -1)
    await other.clear()
    expect(((await raw.call('keys', `${prefix}*`)) as string[]).sort()).toEqual([
      `${prefix}:other`,
      `${prefix}x:tenant:1`,
    ])
    await other.fill(tenants[0] as never, lease as never)
    expect(await heldBy(one, tenants[0]?.id ?? '')).toBeUndefined()
    expect(one.stats().state).toBe('on')
  })

  it('[W41] of a Redis that was started again, with all its data, nothing is believed', async () => {
    const server = await startRedis({ appendonly: 'yes', appendfsync: 'always' })
    onTestFinished(() => server.stop())
    const prefix = uniquePrefix()
    const [one, other] = [await sharedOn(server.url, prefix), await sharedOn(server.url, prefix)]
    const [tenant, slow] = [tenantOf(), tenantOf()]
    await put(one, tenant)
    const lease = await leaseFor(one, slow.id)
    await server.kill()
    await Promise.all([isOff(one), isOff(other)])
    // Nobody could tell Redis of this one.
    await other.close()
    await server.restart()
    await isOn(one)
    const raw = await rawRedis(server.url)
    expect(await raw.call('hget', `${prefix}:tenant:${tenant.id}`, 'p')).toContain(tenant.identifier)
    expect(await heldBy(one, tenant.id)).toBeUndefined()
    await one.fill(slow, lease)
    expect(await heldBy(one, slow.id)).toBeUndefined()
  })

  it('[W41] of a replica that became the master nothing is believed, and nothing is read from a replica', async () => {
    const [master, replica] = [await startRedis(), await startRedis()]
    onTestFinished(async () => void (await Promise.all([master.stop(), replica.stop()])))
    const raw = await rawRedis(replica.url)
    await raw.call('replicaof', '127.0.0.1', master.port)
    await until(async () => String(await raw.call('info', 'replication')).includes('master_link_status:up'))
    const prefix = uniquePrefix()
    const one = await sharedOn(master.url, prefix)
    const reader = await startShared(replica.url, prefix)
    const tenant = tenantOf()
    await put(one, tenant)
    await until(async () => (await raw.call('hget', `${prefix}:tenant:${tenant.id}`, 'p')) !== null)
    await sleep(700)
    expect(reader.stats().state).not.toBe('on')
    // The last write of the old master never arrives.
    await master.kill()
    await raw.call('replicaof', 'no', 'one')
    await isOn(reader)
    expect(await raw.call('hget', `${prefix}:tenant:${tenant.id}`, 'p')).toContain(tenant.identifier)
    // Also for who listened all the time: `reader` did not, so ask Redis itself how old it may be.
    expect(await heldBy(reader, tenant.id)).toBeUndefined()
    await put(reader, tenant)
    expect(await heldBy(reader, tenant.id)).toEqual(tenant)
  })

  it('[W41] tells what it could not tell before it reads again, and believes nothing from before', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const prefix = uniquePrefix()
    const changes: string[] = []
    const one = await sharedOn(server.url, prefix, { onChange: (state, code) => changes.push(`${state} ${code}`) })
    const other = await sharedOn(server.url, prefix)
    const [changed, unchanged] = [tenantOf(), tenantOf()]
    await put(other, changed)
    await put(other, unchanged)
    process.kill(server.pid() as number, 'SIGSTOP')
    const begun = performance.now()
    await one.tell(changed.id, 2)
    expect(performance.now() - begun).toBeLessThan(1000)
    expect(one.stats()).toMatchObject({ state: 'off', untold: 1 })
    await one.tell(changed.id)
    await one.tell(randomUUID(), 9)
    expect(await one.read(changed.id, Number.POSITIVE_INFINITY)).toEqual({})
    expect(await one.idOf('acme')).toBeUndefined()
    process.kill(server.pid() as number, 'SIGCONT')
    await isOn(one)
    expect(one.stats().untold).toBe(0)
    expect(await heldBy(one, changed.id)).toBeUndefined()
    expect(await heldBy(one, unchanged.id)).toBeUndefined()
    // Who noticed nothing is told, and goes on with the rest.
    expect(await heldBy(other, changed.id)).toBeUndefined()
    expect(await heldBy(other, unchanged.id)).toEqual(unchanged)
    expect(changes).toEqual(['on undefined', 'off TOO_SLOW', 'on undefined'])
  })

  it('drops everything when more could not be told than it remembers', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const prefix = uniquePrefix()
    const [one, other] = [await sharedOn(server.url, prefix), await sharedOn(server.url, prefix)]
    const tenant = tenantOf()
    await put(other, tenant)
    process.kill(server.pid() as number, 'SIGSTOP')
    await one.tell(tenant.id, 2)
    for (let n = 0; n < 10_001; n++) await one.tell(randomUUID(), 1)
    expect(one.stats().untold).toBeLessThan(10_000)
    process.kill(server.pid() as number, 'SIGCONT')
    await isOn(one)
    expect(await heldBy(other, tenant.id)).toBeUndefined()
  })

  it('can be closed before, while and after it connects, and never throws then', async () => {
    const cache = await startShared(redis.url, uniquePrefix())
    await cache.close()
    await cache.close()
    await cache.tell(randomUUID(), 1)
    await cache.clear()
    expect(await cache.read(randomUUID(), 1)).toEqual({})
    expect(cache.stats().state).not.toBe('on')
  })

  it('[W41] follows sentinels to the new master, and believes nothing of before', async () => {
    const [master, replica] = [await startRedis(), await startRedis()]
    const raw = await rawRedis(replica.url)
    await raw.call('replicaof', '127.0.0.1', master.port)
    await until(async () => String(await raw.call('info', 'replication')).includes('master_link_status:up'))
    const sentinel = await startSentinel('cache', master.port)
    onTestFinished(async () => void (await Promise.all([sentinel, master, replica].map((each) => each.stop()))))
    await until(async () => sentinel.log().includes('+slave'), 20)
    const cache = await sharedOn(`redis+sentinel://127.0.0.1:${sentinel.port}/cache`, uniquePrefix())
    const tenant = tenantOf()
    await put(cache, tenant)
    expect(await heldBy(cache, tenant.id)).toEqual(tenant)
    await master.kill()
    await isOff(cache)
    await until(() => cache.stats().state === 'on', 20)
    expect(await heldBy(cache, tenant.id)).toBeUndefined()
    await put(cache, tenant)
    expect(await heldBy(cache, tenant.id)).toEqual(tenant)
  })

  it.each([1, 3])('works with a cluster of %i', async (size) => {
    const cluster = await startRedisCluster(size)
    onTestFinished(() => cluster.stop())
    const prefix = uniquePrefix()
    const [one, other] = [await sharedOn(cluster.url, prefix), await sharedOn(cluster.url, prefix)]
    const tenants = Array.from({ length: 50 }, () => tenantOf())
    for (const tenant of tenants) {
      await put(one, tenant)
      await one.point(tenant.identifier, tenant.id)
    }
    for (const tenant of tenants) {
      expect(await other.idOf(tenant.identifier)).toBe(tenant.id)
      expect(await heldBy(other, tenant.id)).toEqual(tenant)
      await one.tell(tenant.id, 2)
      expect(await heldBy(other, tenant.id)).toBeUndefined()
      await put(one, { ...tenant, version: 2 })
    }
    await one.clear()
    for (const { id, identifier } of tenants) {
      expect(await heldBy(other, id)).toBeUndefined()
      expect(await other.idOf(identifier)).toBeUndefined()
    }
  })
})
