import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { rawRedis } from '../cache/shared.ts'
import type { TestDatabase } from '../servers/database.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { until } from './fixture.ts'
import { aboutRedis, cachedApp, silentRegistry, untilExpired } from './redis-fixture.ts'

describeWith(['postgres18', 'redis'], 'Redis is full', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('[W41] what it holds is used, what is new is not put there, and changes are told all the same', async () => {
    const registry = silentRegistry()
    const server = await startRedis({ 'maxmemory-policy': 'noeviction' })
    onTestFinished(() => server.stop())
    const [one, two] = [
      await cachedApp(database, server.url, registry),
      await cachedApp(database, server.url, registry),
    ]
    for (const identifier of ['acme', 'beta', 'gamma']) await one.app.tenancy.ensure({ identifier })
    await Promise.all([one.on(), two.on()])
    const hits = () => two.app.tenancy.getMetrics().sharedCache?.hits ?? 0
    await until(async () => {
      await untilExpired()
      const before = hits()
      await two.ask('acme')
      return hits() > before
    })
    const raw = await rawRedis(server.url)
    await raw.call('config', 'set', 'maxmemory', '1')
    await expect(raw.call('set', 'x', 'y')).rejects.toThrow('OOM')

    await untilExpired()
    const before = hits()
    expect(await two.ask('acme')).toBe('200 acme')
    expect(hits()).toBe(before + 1)
    for (let round = 0; round < 4; round++) {
      for (const name of ['beta', 'gamma']) expect(await two.ask(name)).toBe(`200 ${name}`)
      await untilExpired()
    }
    await one.app.tenancy.suspend('acme')
    await untilExpired()
    expect(await two.ask('acme')).toBe('403')
    await one.app.tenancy.activate('acme')
    await untilExpired()
    expect(await two.ask('acme')).toBe('200 acme')
    expect([one.state(), two.state()]).toEqual(['on', 'on'])
    expect([...aboutRedis(one), ...aboutRedis(two)]).toEqual([])
  })
})
