import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { rawRedis } from '../cache/shared.ts'
import type { TestDatabase } from '../servers/database.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { until } from './fixture.ts'
import { aboutRedis, cachedApp, silentRegistry, untilExpired } from './redis-fixture.ts'

describeWith(['postgres18', 'redis'], 'Redis takes no writes', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('[W41] because it became a replica: nothing is read from it, and nothing old after', async () => {
    const registry = silentRegistry()
    const [server, other] = [await startRedis(), await startRedis()]
    onTestFinished(async () => void (await Promise.all([server.stop(), other.stop()])))
    const [one, two] = [
      await cachedApp(database, server.url, registry),
      await cachedApp(database, server.url, registry),
    ]
    await one.app.tenancy.ensure({ identifier: 'acme' })
    await Promise.all([one.on(), two.on()])
    await until(async () => {
      await untilExpired()
      const { hits = 0 } = two.app.tenancy.getMetrics().sharedCache ?? {}
      expect(await two.ask('acme')).toBe('200 acme')
      return (two.app.tenancy.getMetrics().sharedCache?.hits ?? 0) > hits
    })
    const raw = await rawRedis(server.url)
    await raw.call('replicaof', '127.0.0.1', other.port)
    await one.app.tenancy.suspend('acme')
    expect(one.state()).not.toBe('on')
    expect(await one.ask('acme')).toBe('403')
    await untilExpired()
    expect(await two.ask('acme')).toBe('403')
    expect(aboutRedis(one)).toEqual([expect.stringContaining(': READONLY.')])
    await raw.call('replicaof', 'no', 'one')
    await Promise.all([one.on(), two.on()])
    await untilExpired()
    expect(await two.ask('acme')).toBe('403')
  })

  it('[W41] because it cannot save: who cannot tell it stops to read, and tells it later', async () => {
    const registry = silentRegistry()
    const server = await startRedis({ 'min-replicas-to-write': '0' })
    onTestFinished(() => server.stop())
    const one = await cachedApp(database, server.url, registry)
    await one.app.tenancy.ensure({ identifier: 'beta' })
    await one.on()
    const raw = await rawRedis(server.url)
    await raw.call('config', 'set', 'min-replicas-to-write', '1')
    await one.app.tenancy.suspend('beta')
    await one.off()
    expect(one.app.tenancy.getMetrics().sharedCache?.untold).toBe(1)
    await untilExpired()
    expect(await one.ask('beta')).toBe('403')
    await raw.call('config', 'set', 'min-replicas-to-write', '0')
    await one.on()
    expect(one.app.tenancy.getMetrics().sharedCache?.untold).toBe(0)
    expect(aboutRedis(one)).toEqual([expect.stringContaining(': NOREPLICAS.'), expect.stringContaining('again')])
  })
})
