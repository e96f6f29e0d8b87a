import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import type { TenantCache } from '../../src/contracts/cache.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'

const tenant = (id: string, identifier: string, version = 1): Tenant => ({
  id,
  identifier,
  name: identifier,
  status: 'active',
  placement: { strategy: 'schema', server: 'main', namespace: `t${id}`, rowKey: id },
  metadata: {},
  version,
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-01T00:00:00.000Z',
})

describe('createTenantCache', () => {
  let time = 0
  let cache: TenantCache
  const create = (change: Partial<Parameters<typeof createTenantCache>[0]> = {}) =>
    createTenantCache({ maxSize: 3, ttlSeconds: 60, negativeTtlSeconds: 5, now: () => time, ...change })

  beforeEach(() => {
    time = 1000
    cache = create()
  })

  describe('entries', () => {
    it('are found by identifier and by id', () => {
      const acme = tenant('1', 'acme')
      expect(cache.set(acme)).toBe(true)
      expect(cache.peek('acme')).toBe(acme)
      expect(cache.peekById('1')).toBe(acme)
      expect(cache.peek('beta')).toBeUndefined()
      expect(cache.peekById('2')).toBeUndefined()
    })

    it('expire at `ttlSeconds` after they were stored, however often they are read', () => {
      cache.set(tenant('1', 'acme'))
      for (const later of [30_000, 59_999]) {
        time = 1000 + later
        expect(cache.peek('acme')).toBeDefined()
        expect(cache.peekById('1')).toBeDefined()
      }
      time = 1000 + 60_001
      expect(cache.peekById('1')).toBeUndefined()
      expect(cache.peek('acme')).toBeUndefined()
    })

    it('are believed anew when the same version is stored again', () => {
      cache.set(tenant('1', 'acme'))
      time += 50_000
      expect(cache.set(tenant('1', 'acme'))).toBe(true)
      time += 50_000
      expect(cache.peek('acme')).toBeDefined()
    })

    it('go least recently used first, by either way of asking', () => {
      for (const [id, identifier] of [
        ['1', 'a'],
        ['2', 'b'],
        ['3', 'c'],
      ] as const)
        cache.set(tenant(id, identifier))
      cache.peek('a')
      cache.peekById('2')
      cache.set(tenant('4', 'd'))
      expect(['a', 'b', 'c', 'd'].map((identifier) => cache.peek(identifier) !== undefined)).toEqual([
        true,
        true,
        false,
        true,
      ])
      expect(cache.peekById('3')).toBeUndefined()
    })

    it('are counted, hits and misses too', () => {
      expect(cache.stats().hitRate).toBe(0)
      cache.set(tenant('1', 'acme'))
      cache.setMissing('nobody', cache.epoch)
      for (const identifier of ['acme', 'acme', 'nobody', 'x']) cache.peek(identifier)
      expect(cache.stats()).toEqual({ size: 1, maxSize: 3, hits: 2, negativeHits: 1, misses: 1, hitRate: 0.75 })
    })

    it('are all gone after clear, and a read from before it is refused', () => {
      cache.set(tenant('1', 'acme', 7))
      cache.setMissing('nobody', cache.epoch)
      const before = cache.epoch
      cache.clear()
      expect([cache.peek('acme'), cache.peekById('1'), cache.peek('nobody')]).toEqual([undefined, undefined, undefined])
      expect(cache.set(tenant('1', 'acme', 7), before)).toBe(false)
      cache.setMissing('nobody', before)
      expect(cache.peek('nobody')).toBeUndefined()
      expect(cache.set(tenant('1', 'acme', 3), cache.epoch)).toBe(true)
    })
  })

  describe('identifiers nobody has', () => {
    it('[W58] are remembered for `negativeTtlSeconds`', () => {
      cache.setMissing('nobody', cache.epoch)
      time += 4999
      expect(cache.peek('nobody')).toBeNull()
      time += 2
      expect(cache.peek('nobody')).toBeUndefined()
    })

    it.each([
      [60, 10],
      [3, 3],
    ])('are remembered by default with a TTL of %i s for %i s', (ttlSeconds, seconds) => {
      cache = createTenantCache({ maxSize: 3, ttlSeconds, now: () => time })
      cache.setMissing('nobody', cache.epoch)
      time += seconds * 1000 - 1
      expect(cache.peek('nobody')).toBeNull()
      time += 2
      expect(cache.peek('nobody')).toBeUndefined()
    })

    it('[W58] evict no live tenant, and neither its floor nor its owner, when a million come', () => {
      cache = create({ maxSize: 1000 })
      const before = cache.epoch
      for (let n = 0; n < 1000; n++) cache.set(tenant(`${n}`, `live-${n}`, 2))
      for (let n = 0; n < 1_000_000; n++) cache.setMissing(`made-up-${n}`, cache.epoch)
      for (let n = 0; n < 1000; n++) expect(cache.peek(`live-${n}`)).toBeDefined()
      expect(cache.set(tenant('0', 'live-0', 1))).toBe(false)
      cache.setMissing('live-0', before)
      expect(cache.peek('live-0')).toBeDefined()
      expect(cache.peek('made-up-0')).toBeUndefined()
      expect(cache.peek('made-up-999999')).toBeNull()
    })

    it('end when someone gets the identifier, and do not come back by a slow look-up', () => {
      const slow = cache.epoch
      cache.setMissing('acme', cache.epoch)
      cache.set(tenant('1', 'acme'))
      expect(cache.peek('acme')).toMatchObject({ id: '1' })
      cache.setMissing('acme', slow)
      expect(cache.peek('acme')).toMatchObject({ id: '1' })
    })

    it('end when someone is said to have the identifier, though that is not believed: news of it came meanwhile', () => {
      cache.set(tenant('1', 'before', 1))
      cache.setMissing('after', cache.epoch)
      const since = cache.epoch
      cache.forget('1')
      expect(cache.set(tenant('1', 'after', 2), since)).toBe(false)
      expect(cache.peek('after')).toBeUndefined()
    })

    it('do not come back when the tenant that got the identifier has to leave L1', () => {
      cache.setMissing('acme', cache.epoch)
      cache.set(tenant('1', 'acme'))
      cache.forget('1')
      expect(cache.peek('acme')).toBeUndefined()
    })

    it('do not come back by a slow look-up when the tenant gave the identifier up and took it back', () => {
      cache.set(tenant('1', 'acme', 1))
      const slow = cache.epoch
      cache.set(tenant('1', 'acme', 3))
      cache.setMissing('acme', slow)
      expect(cache.peek('acme')).toMatchObject({ version: 3 })
    })

    it('end what L1 still believed of a tenant that has lost the identifier elsewhere', () => {
      cache.set(tenant('1', 'acme'))
      const slow = cache.epoch
      cache.setMissing('acme', cache.epoch)
      expect(cache.peek('acme')).toBeNull()
      expect(cache.peekById('1')).toBeUndefined()
      expect(cache.set(tenant('1', 'acme'), slow)).toBe(false)
    })
  })

  describe('floors', () => {
    it('[W40] refuse an older version, also when the entry is gone', () => {
      cache.set(tenant('1', 'acme', 5))
      expect(cache.set(tenant('1', 'acme', 4))).toBe(false)
      expect(cache.peek('acme')).toMatchObject({ version: 5 })
      time += 61_000
      expect(cache.set(tenant('1', 'acme', 4))).toBe(false)
      expect(cache.peek('acme')).toBeUndefined()
      expect(cache.set(tenant('1', 'acme', 5))).toBe(true)
    })

    it('[W40] are bounded, and a read that began before a floor was forgotten is refused', () => {
      const slow = cache.epoch
      cache.set(tenant('1', 'acme', 5))
      for (let n = 0; n < 100; n++) cache.set(tenant(`other-${n}`, `other-${n}`))
      expect(cache.set(tenant('1', 'acme', 4), slow)).toBe(false)
      expect(cache.set(tenant('1', 'acme', 5), cache.epoch)).toBe(true)
    })

    it('drop the older copy even when the identifier is refused', () => {
      cache.set(tenant('1', 'acme', 1))
      const since = cache.epoch
      cache.set(tenant('2', 'beta', 1))
      expect(cache.set(tenant('1', 'beta', 2), since)).toBe(false)
      expect(cache.peekById('1')).toBeUndefined()
    })
  })

  describe('a rename', () => {
    it('drops the old identifier', () => {
      cache.set(tenant('1', 'acme', 1))
      cache.set(tenant('1', 'beta', 2))
      expect(cache.peek('acme')).toBeUndefined()
      expect(cache.peek('beta')).toMatchObject({ version: 2 })
      expect(cache.peekById('1')).toMatchObject({ identifier: 'beta' })
      expect(cache.stats().size).toBe(1)
    })

    it('leaves the old identifier to the tenant that has taken it', () => {
      cache.set(tenant('1', 'acme', 1))
      cache.set(tenant('1', 'beta', 2))
      expect(cache.set(tenant('2', 'acme', 2))).toBe(true)
      expect(cache.set(tenant('1', 'acme', 1))).toBe(false)
      expect(cache.peek('acme')).toMatchObject({ id: '2' })
      expect(cache.peek('beta')).toMatchObject({ id: '1' })
    })

    it('never lets a slow read give an identifier back to who had it before', () => {
      const slow = cache.epoch
      cache.set(tenant('2', 'acme', 2), cache.epoch)
      expect(cache.set(tenant('1', 'acme', 1), slow)).toBe(false)
      expect(cache.peek('acme')).toMatchObject({ id: '2' })
    })

    it('lets a read that began later take the identifier over', () => {
      cache.set(tenant('1', 'acme', 1))
      expect(cache.set(tenant('2', 'acme', 2), cache.epoch)).toBe(true)
      expect(cache.peek('acme')).toMatchObject({ id: '2' })
      expect(cache.peekById('1')).toBeUndefined()
    })

    it('believes neither of two owners when it is not said which read is later', () => {
      cache.set(tenant('1', 'acme', 1))
      expect(cache.set(tenant('2', 'acme', 1))).toBe(false)
      expect([cache.peek('acme'), cache.peekById('1'), cache.peekById('2')]).toEqual([undefined, undefined, undefined])
      expect(cache.set(tenant('2', 'acme', 1))).toBe(true)
    })

    it('is refused when the log of owners may have forgotten a later one', () => {
      const slow = cache.epoch
      for (let n = 0; n < 100; n++) cache.set(tenant('1', `name-${n}`, n + 1))
      expect(cache.set(tenant('2', 'acme', 1), slow)).toBe(false)
      cache.setMissing('acme', slow)
      expect(cache.peek('acme')).toBeUndefined()
    })
  })

  describe('[W40] raise', () => {
    it('drops what is older, keeps nothing, and says whether that was news', () => {
      cache.set(tenant('1', 'acme'), cache.epoch)
      const since = cache.epoch
      expect(cache.raise(tenant('1', 'acme', 2), since)).toBe(true)
      expect(cache.raise(tenant('1', 'acme', 2), since)).toBe(false)
      expect(cache.peek('acme')).toBeUndefined()
      expect(cache.set(tenant('1', 'acme'), cache.epoch)).toBe(false)
      expect(cache.set(tenant('1', 'acme', 2), cache.epoch)).toBe(true)
      expect(cache.stats().size).toBe(1)
    })

    it('ends that nobody has the identifier, and refuses a slow read that found nobody', () => {
      cache.setMissing('acme', cache.epoch)
      const since = cache.epoch
      cache.raise(tenant('1', 'acme'), since)
      expect(cache.peek('acme')).toBeUndefined()
      cache.setMissing('acme', since)
      expect(cache.peek('acme')).toBeUndefined()
    })
  })

  describe('[W58] what has expired', () => {
    it('is there for peekStale and for nobody else, until it is purged', () => {
      const acme = tenant('1', 'acme')
      cache.set(acme)
      cache.setMissing('nobody', cache.epoch)
      time += 60_001
      expect([cache.peek('acme'), cache.peekById('1'), cache.peekStale('acme')]).toEqual([undefined, undefined, acme])
      expect(cache.stats().size).toBe(1)
      cache.purge()
      expect(cache.peekStale('acme')).toBeUndefined()
      expect(cache.stats().size).toBe(0)
    })

    it('is not there for peekStale when it was made to go', () => {
      for (const drop of [
        () => cache.forget('1'),
        () => cache.raise(tenant('1', 'acme', 2), cache.epoch),
        () => cache.clear(),
        () => cache.set(tenant('1', 'renamed', 2), cache.epoch),
      ]) {
        cache = create()
        cache.set(tenant('1', 'acme'), cache.epoch)
        time += 60_001
        drop()
        expect(cache.peekStale('acme')).toBeUndefined()
      }
    })
  })

  it('publishes what it does, to who listens', () => {
    const heard: unknown[] = []
    const listen = (message: unknown, name: string | symbol) => heard.push([String(name).split(':').at(-1), message])
    const names = ['hit', 'negative-hit', 'miss', 'stale', 'invalidation'].map(
      (name) => `fastify-tenancy:cache:${name}`,
    )
    for (const name of names) subscribe(name, listen)
    onTestFinished(() => names.forEach((name) => unsubscribe(name, listen)))
    cache.peek('acme')
    cache.set(tenant('1', 'acme'))
    cache.peek('acme')
    cache.setMissing('nobody', cache.epoch)
    cache.peek('nobody')
    time += 60_001
    cache.peekStale('acme')
    cache.raise(tenant('1', 'acme', 2), cache.epoch)
    cache.forget('1')
    cache.clear()
    expect(heard).toEqual([
      ['miss', { tier: 'l1', identifier: 'acme' }],
      ['hit', { tier: 'l1', id: '1' }],
      ['negative-hit', { tier: 'l1', identifier: 'nobody' }],
      ['stale', { tier: 'l1', id: '1' }],
      ['invalidation', { tier: 'l1', id: '1' }],
      ['invalidation', { tier: 'l1', id: '1' }],
      ['invalidation', { tier: 'l1' }],
    ])
  })

  describe('forget', () => {
    it('drops the tenant and refuses reads that began before', () => {
      cache.set(tenant('1', 'acme', 1))
      const slow = cache.epoch
      cache.forget('1')
      expect([cache.peek('acme'), cache.peekById('1')]).toEqual([undefined, undefined])
      expect(cache.set(tenant('1', 'acme', 1), slow)).toBe(false)
      expect(cache.set(tenant('1', 'acme', 2), slow)).toBe(false)
      expect(cache.set(tenant('1', 'acme', 1), cache.epoch)).toBe(true)
    })

    it('keeps the floor, and takes ids it has never seen', () => {
      cache.set(tenant('1', 'acme', 5))
      cache.forget('1')
      expect(cache.set(tenant('1', 'acme', 4), cache.epoch)).toBe(false)
      const slow = cache.epoch
      cache.forget('2')
      expect(cache.set(tenant('2', 'beta', 1), slow)).toBe(false)
      expect(cache.set(tenant('2', 'beta', 1), cache.epoch)).toBe(true)
    })
  })

  it.each([
    { maxSize: 0 },
    { maxSize: 1.5 },
    { ttlSeconds: 0 },
    { ttlSeconds: Number.NaN },
    { negativeTtlSeconds: 0 },
    { negativeTtlSeconds: Number.POSITIVE_INFINITY },
  ])('refuses %o', (change) => {
    expect(() => create(change)).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }))
  })

  it('asks the real clock at most once in 50 ms', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] })
    onTestFinished(() => void vi.useRealTimers())
    vi.advanceTimersByTime(1000)
    const asked = vi.spyOn(performance, 'now')
    cache = createTenantCache({ maxSize: 3, ttlSeconds: 60 })
    cache.set(tenant('1', 'acme'))
    for (let i = 0; i < 100; i++) expect(cache.peek('acme')).toBeDefined()
    expect(asked.mock.calls.length).toBeLessThan(3)
    vi.advanceTimersByTime(59_990)
    expect(cache.peek('acme')).toBeDefined()
    vi.advanceTimersByTime(60)
    expect(cache.peek('acme')).toBeUndefined()
  })

  it('goes by the real clock when none is given, in fractions of a second too', async () => {
    cache = createTenantCache({ maxSize: 3, ttlSeconds: 0.0205 })
    cache.set(tenant('1', 'acme'))
    expect(cache.peek('acme')).toBeDefined()
    await new Promise((resolve) => setTimeout(resolve, 40))
    expect(cache.peek('acme')).toBeUndefined()
  })
})
