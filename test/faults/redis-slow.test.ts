import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TestDatabase } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { gate } from './fixture.ts'
import { aboutRedis, cachedApp } from './redis-fixture.ts'

describeWith(['postgres18', 'redis'], 'Redis is slow', ({ postgres18, redis }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('[W41] so slow that each answer takes 5 s: the app starts and serves without', async () => {
    const proxy = await startProxy({ target: redis.port, delayMs: 5000 })
    onTestFinished(() => proxy.stop())
    const begun = performance.now()
    const one = await cachedApp(database, `redis://127.0.0.1:${proxy.port}`)
    await one.app.tenancy.ensure({ identifier: 'acme' })
    expect(await one.ask('acme')).toBe('200 acme')
    await one.app.tenancy.suspend('acme')
    expect(await one.ask('acme')).toBe('403')
    expect(performance.now() - begun).toBeLessThan(5000)
    expect(one.state()).not.toBe('on')
  })

  it('[W41] from one moment to the next: no request and no write waits for more than its patience', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const one = await cachedApp(database, server.url, { l1CacheTtlSeconds: 60 })
    const names = Array.from({ length: 30 }, (_, n) => `slow-${n}`)
    for (const identifier of names) await one.app.tenancy.ensure({ identifier })
    const two = await cachedApp(database, server.url, { l1CacheTtlSeconds: 60 })
    await Promise.all([one.on(), two.on()])
    const resumed = gate()
    onTestFinished(() => resumed.open())
    process.kill(server.pid() as number, 'SIGSTOP')
    const begun = performance.now()
    const answers = await Promise.all(names.map((name) => two.ask(name)))
    expect(answers).toEqual(names.map((name) => `200 ${name}`))
    expect(performance.now() - begun).toBeLessThan(2000)
    await two.off()
    const suspending = performance.now()
    await one.app.tenancy.suspend('slow-0')
    expect(performance.now() - suspending).toBeLessThan(1500)
    expect(await one.ask('slow-0')).toBe('403')
    await one.off()
    process.kill(server.pid() as number, 'SIGCONT')
    await Promise.all([one.on(), two.on()])
    expect(aboutRedis(two)).toEqual([expect.stringContaining(': TOO_SLOW.'), expect.stringContaining('again')])
  })
})
