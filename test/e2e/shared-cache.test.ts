import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { rawRedis } from '../cache/shared.ts'
import { until } from '../faults/fixture.ts'
import { cachedApp, untilExpired } from '../faults/redis-fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'

/** Above the 300 s that a floor is kept. */
const CACHE_TTL = 900

describeWith(['postgres18', 'redis'], 'the cache in Redis, switched on and off', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  async function asked(cacheEnabled: boolean) {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const options = { cacheEnabled, cacheTtl: CACHE_TTL }
    const [one, two] = [await cachedApp(database, server.url, options), await cachedApp(database, server.url, options)]
    await one.app.tenancy.ensure({ identifier: 'acme' })
    if (cacheEnabled) await Promise.all([one.on(), two.on()])
    const raw = await rawRedis(server.url)
    return { one, two, raw, held: async () => (await raw.call('keys', '*tenant*')) as string[] }
  }

  it('[W30] on: one process reads a tenant that another one put there, for as long as `cacheTtl`', async () => {
    const { one, two, raw, held } = await asked(true)
    const told: Record<string, unknown[]> = { hit: [], miss: [], invalidation: [] }
    for (const [event, messages] of Object.entries(told)) {
      const tell = (message: unknown) => void messages.push(message)
      subscribe(`fastify-tenancy:cache:${event}`, tell)
      onTestFinished(() => void unsubscribe(`fastify-tenancy:cache:${event}`, tell))
    }
    await until(async () => {
      await untilExpired()
      expect([await one.ask('acme'), await two.ask('acme')]).toEqual(['200 acme', '200 acme'])
      return (two.app.tenancy.getMetrics().sharedCache?.hits ?? 0) > 0
    }, 20)
    const { id } = (await one.app.tenancy.get('acme')) ?? expect.fail('no tenant')
    // Whoever read it first did not find it there.
    expect(told['miss']).toContainEqual({ tier: 'l2', id })
    expect(told['hit']).toContainEqual({ tier: 'l2', id })
    // Of the incarnation of this registry.
    expect(await raw.call('keys', '*:tenant:????????????????:????????-*')).toHaveLength(1)
    const lives = await Promise.all((await held()).map(async (key) => Number(await raw.call('pttl', key))))
    expect(lives.length).toBeGreaterThan(0)
    expect(Math.max(...lives)).toBeGreaterThan((CACHE_TTL * 1000) / 2)
    for (const life of lives) expect(life).toSatisfy((ms: number) => ms > 0 && ms <= CACHE_TTL * 1000)
    told['invalidation']?.splice(0)
    await one.app.tenancy.suspend('acme')
    await one.app.tenancy.activate('acme')
    expect(told['invalidation']).toContainEqual({ tier: 'l2', id })
  })

  it('[W30] off: nothing of a tenant is in Redis, and no state of it is shown', async () => {
    const { one, two, held } = await asked(false)
    for (const app of [one, two, one]) expect(await app.ask('acme')).toBe('200 acme')
    expect(await held()).toEqual([])
    expect(one.app.tenancy.getMetrics().sharedCache).toBeUndefined()
  })
})
