import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from 'vitest'
import { getTenant, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { until } from '../faults/fixture.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

describeWith(['postgres18'], 'L1', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const start = async (options: TenancyOptions = {}) => {
    const app = await tenantApp(database, options)
    onTestFinished(() => app.close())
    app.get('/who', async () => getTenant().identifier)
    await app.ready()
    return app
  }

  it('`l1CachePreload` tenants are warm at the start, at most `l1CacheMaxSize`', async () => {
    const first = await start()
    for (let n = 0; n < 12; n++) await first.tenancy.register({ identifier: `tenant-${n}` })
    const sizes = [{}, { l1CachePreload: 3 }, { l1CachePreload: 12, l1CacheMaxSize: 10 }].map(async (options) => {
      const app = await start(options)
      const { size } = app.tenancy.getMetrics().cache
      expect((await app.inject({ url: '/who', headers: as('tenant-11') })).body).toBe('tenant-11')
      return [size, app.tenancy.getMetrics().cache.misses]
    })
    expect(await Promise.all(sizes)).toEqual([
      [0, 1],
      [3, 0],
      [10, 0],
    ])
  })

  it('`l1CachePreload` begins with who was used when the last process ended', async () => {
    const first = await start({ l1CachePreload: 2, l1CacheTtlSeconds: 600 })
    for (const name of ['old', 'busy', 'new', 'newer']) await first.tenancy.ensure({ identifier: `shop-${name}` })
    await sleep(500)
    for (const name of ['old', 'busy']) await first.inject({ url: '/who', headers: as(`shop-${name}`) })
    await first.close()
    const next = await start({ l1CachePreload: 2 })
    for (const name of ['old', 'busy']) await next.inject({ url: '/who', headers: as(`shop-${name}`) })
    expect(next.tenancy.getMetrics().cache).toMatchObject({ size: 2, misses: 0 })
  })

  it('notes who is used every five minutes, for when a process is killed', async () => {
    vi.useFakeTimers({ toFake: ['setInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const app = await start({ l1CachePreload: 1, changeChannel: 'poll' })
    const { id } = await app.tenancy.ensure({ identifier: 'shop-killed' })
    await sleep(500)
    await app.inject({ url: '/who', headers: as('shop-killed') })
    vi.advanceTimersByTime(300_000)
    const noted = () =>
      asSuperuser(database, async (client) => {
        const { rows } = await client.query<{ ids: string }>('select ids from tenancy.hot_tenants')
        return rows[0]?.ids
      })
    await until(async () => (await noted()) === id)
  })

  it('[W58] what has expired is purged every half of `l1CacheTtlSeconds`, and no more often', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'performance'] })
    onTestFinished(() => void vi.useRealTimers())
    // What is stored at 0 never expires.
    vi.advanceTimersByTime(1000)
    const app = await start({ l1CacheTtlSeconds: 60, changeChannel: 'poll' })
    vi.advanceTimersByTime(5000)
    await app.tenancy.ensure({ identifier: 'half' })
    // News of our own write may still come back and end what is held.
    await sleep(500)
    await app.inject({ url: '/who', headers: as('half') })
    const size = () => app.tenancy.getMetrics().cache.size
    // It expires at 66 s; the purges are at 31 s, 61 s and 91 s.
    vi.advanceTimersByTime(84_000)
    expect(size()).toBe(1)
    // What the clock said last is believed for so long.
    await sleep(100)
    vi.advanceTimersByTime(2000)
    expect(size()).toBe(0)
  })

  it('[W58] what has expired is purged without being asked for, until the app is closed', async () => {
    const app = await start({ l1CacheTtlSeconds: 1 })
    await app.tenancy.ensure({ identifier: 'acme' })
    const size = () => app.tenancy.getMetrics().cache.size
    // News of our own write may still come back and end what is held.
    await sleep(300)
    await app.inject({ url: '/who', headers: as('acme') })
    expect(size()).toBe(1)
    await sleep(2300)
    expect(size()).toBe(0)
    await app.inject({ url: '/who', headers: as('acme') })
    await app.close()
    await sleep(2300)
    expect(size()).toBe(1)
  })
})
