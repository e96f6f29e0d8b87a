import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TestDatabase } from '../servers/database.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { until } from './fixture.ts'
import { aboutRedis, cachedApp } from './redis-fixture.ts'

describeWith(['postgres18', 'redis'], 'Redis is down when the app starts', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('[W41] starts, serves, and uses it when it comes', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    await server.kill()
    const one = await cachedApp(database, server.url)
    await one.app.tenancy.ensure({ identifier: 'acme' })
    expect(await one.ask('acme')).toBe('200 acme')
    expect(await one.ask('nobody')).toBe('400')
    await until(() => aboutRedis(one).length > 0)
    expect(one.state()).not.toBe('on')
    const health = await one.app.tenancy.health()
    expect(health).toMatchObject({ ok: true, degraded: false, checks: { sharedCache: { ok: false } } })
    expect(aboutRedis(one)).toEqual([expect.stringMatching(/^Redis is not used for the tenant cache: ECONNREFUSED\./)])
    await server.restart()
    await one.on()
    expect(await one.ask('acme')).toBe('200 acme')
    expect((await one.app.tenancy.health()).checks.sharedCache).toEqual({ ok: true })
    expect(aboutRedis(one)).toEqual([expect.any(String), 'Redis is used for the tenant cache again.'])
  })
})
