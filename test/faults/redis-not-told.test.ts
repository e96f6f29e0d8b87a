import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TenantStore } from '../../src/contracts/store.ts'
import { createMemoryTenantStore, getTenant } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'
import { gate, until } from './fixture.ts'
import { type CachedApp, cachedApp, silentRegistry, untilExpired } from './redis-fixture.ts'

describeWith(['postgres18', 'redis'], 'a suspension that Redis could not be told of', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  /** Asks until the answer comes from L2. */
  async function warm({ app, ask }: CachedApp, identifier: string): Promise<void> {
    const hits = () => app.tenancy.getMetrics().sharedCache?.hits ?? 0
    await until(async () => {
      await untilExpired()
      const before = hits()
      expect(await ask(identifier)).toBe(`200 ${identifier}`)
      return hits() > before
    }, 20)
  }

  it.each(['stopped for a while', 'started again with all its data'])(
    '[W41] is not undone by a Redis that was %s, in any process',
    async (how) => {
      const registry = silentRegistry()
      const server = await startRedis({ appendonly: 'yes', appendfsync: 'always' })
      onTestFinished(() => server.stop())
      const name = how.slice(0, 7)
      const [one, two] = [
        await cachedApp(database, server.url, registry),
        await cachedApp(database, server.url, registry),
      ]
      await one.app.tenancy.ensure({ identifier: name })
      await Promise.all([one.on(), two.on()])
      await warm(two, name)
      if (how.startsWith('stopped')) process.kill(server.pid() as number, 'SIGSTOP')
      else await server.kill()
      await one.app.tenancy.suspend(name)
      // Who knew of it dies before it could tell Redis.
      await one.app.close()
      await untilExpired()
      expect(await two.ask(name)).toBe('403')
      if (how.startsWith('stopped')) process.kill(server.pid() as number, 'SIGCONT')
      else await server.restart()
      await two.on()
      await untilExpired()
      expect(await two.ask(name)).toBe('403')
      const three = await cachedApp(database, server.url, registry)
      await three.on()
      expect(await three.ask(name)).toBe('403')
    },
  )

  it('[W41] by a process that alone has lost Redis is told as soon as it has it again', async () => {
    const registry = silentRegistry()
    const server = await startRedis()
    const proxy = await startProxy({ target: server.port })
    onTestFinished(async () => void (await Promise.all([proxy.stop(), server.stop()])))
    const one = await cachedApp(database, `redis://127.0.0.1:${proxy.port}`, registry)
    const two = await cachedApp(database, server.url, registry)
    await one.app.tenancy.ensure({ identifier: 'partition' })
    await Promise.all([one.on(), two.on()])
    await warm(two, 'partition')
    proxy.refuse(true)
    proxy.sever()
    await one.off()
    await one.app.tenancy.suspend('partition')
    expect(await one.ask('partition')).toBe('403')
    proxy.refuse(false)
    await one.on()
    await untilExpired()
    expect(await two.ask('partition')).toBe('403')
    // A process that starts now believes nothing from before.
    const three = await cachedApp(database, server.url, registry)
    await three.on()
    expect(await three.ask('partition')).toBe('403')
  })

  it('[W41] is not undone for a process that starts meanwhile, and finds in Redis what was read before', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const registry = createMemoryTenantStore()
    const unavailable = new Error('nobody hears of the changes')
    let looks = 0
    const deaf = {
      ...registry,
      changes: async () => (looks++ === 0 ? registry.changes?.() : Promise.reject(unavailable)),
    }
    const one = await cachedApp(database, server.url, { tenantStore: deaf as TenantStore, changeChannel: 'poll' })
    const { id } = await one.app.tenancy.ensure({ identifier: 'late' })
    await one.on()

    const looked = gate()
    const slow = {
      ...registry,
      changes: async (after?: string) => {
        await looked.passed
        return registry.changes?.(after)
      },
    }
    const options = { redisUrl: server.url, cacheEnabled: true, authorize: () => true, changeChannel: 'poll' } as const
    const late = await tenantApp(database, { ...options, tenantStore: slow as TenantStore })
    late.get('/who', async () => getTenant().identifier)
    onTestFinished(() => late.close())
    const started = late.ready()
    await sleep(1500)
    await warm(one, 'late')
    await registry.setStatus(id, 'suspended')
    looked.open()
    await started
    await until(() => late.tenancy.getMetrics().sharedCache?.state === 'on')
    for (let n = 0; n < 2; n++) {
      expect((await late.inject({ url: '/who', headers: as('late') })).statusCode).toBe(403)
    }
  })
})
