import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { rawRedis } from '../cache/shared.ts'
import type { TestDatabase } from '../servers/database.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { aboutRedis, cachedApp, silentRegistry, untilExpired } from './redis-fixture.ts'

describeWith(['postgres18', 'redis'], 'Redis is flushed, or its keys are of another type', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('[W41] again and again, while tenants are suspended: no answer is wrong or old', async () => {
    const registry = silentRegistry()
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const [one, two] = [
      await cachedApp(database, server.url, registry),
      await cachedApp(database, server.url, registry),
    ]
    for (const identifier of ['acme', 'beta']) await one.app.tenancy.ensure({ identifier })
    await Promise.all([one.on(), two.on()])
    const raw = await rawRedis(server.url)
    const done = new AbortController()
    const answers = new Set<string>()
    const spoil = async () => {
      while (!done.signal.aborted) {
        await raw.call('flushall')
        await sleep(3)
        for (const key of (await raw.call('keys', 'tenancy:*')) as string[]) {
          await raw.call('del', key)
          // The app may have been faster.
          await raw.call('rpush', key, 'x').catch(() => {})
        }
        await sleep(3)
      }
    }
    const load = async () => {
      while (!done.signal.aborted) {
        answers.add(await two.ask('beta'))
        await sleep(2)
      }
    }
    const working = [spoil(), load()]
    for (let round = 0; round < 3; round++) {
      await one.app.tenancy.suspend('acme')
      await untilExpired()
      expect(await two.ask('acme')).toBe('403')
      await one.app.tenancy.activate('acme')
      await untilExpired()
      expect(await two.ask('acme')).toBe('200 acme')
    }
    done.abort()
    await Promise.all(working)
    expect([...answers]).toEqual(['200 beta'])
    expect([...aboutRedis(one), ...aboutRedis(two)]).toEqual([])
  })
})
