import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import type { ChangeChannel, ChangeListener } from '../../src/contracts/changes.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { tenancyError } from '../../src/errors.ts'
import { createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createChangeFeed } from '../../src/tenants/change-feed.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { newTenant } from '../conformance/store.ts'

/** A channel that a test drives by hand. */
function handChannel(lossless = true) {
  let listener: ChangeListener | undefined
  let healthy = false
  const channel: ChangeChannel = {
    lossless,
    open: (heardBy) => (listener = heardBy),
    get healthy() {
      return healthy
    },
    announce() {},
    close: () => (listener = undefined),
  }
  return {
    channel,
    say: (id: string) => listener?.changed(id),
    set(now: boolean) {
      healthy = now
      listener?.healthChanged()
    },
  }
}

describe('createChangeFeed', () => {
  let primary: TenantStore
  let looks: number
  let warnings: string[]
  /** What a read of the changes waits for. */
  let gate: Promise<void>
  beforeEach(() => {
    primary = createMemoryTenantStore()
    looks = 0
    warnings = []
    gate = Promise.resolve()
  })

  const start = async (channel?: ChangeChannel, store: TenantStore = counted()) => {
    const cache = createTenantCache({ maxSize: 100, ttlSeconds: 60 })
    const changed: Tenant[] = []
    const cached = createCachedTenantStore({ store, cache, onChange: (tenant) => changed.push(tenant) })
    const feed = createChangeFeed({ store: cached, cache, channel, warn: (sentence) => warnings.push(sentence) })
    onTestFinished(feed.close)
    await feed.start()
    return { cached, cache, feed, changed }
  }
  const counted = (): TenantStore => ({
    ...primary,
    async changes(after) {
      looks++
      await gate
      return (await primary.changes?.(after)) ?? expect.fail()
    },
  })
  const active = () => primary.insert(newTenant({ identifier: 'acme', status: 'active' }))

  it('looks often without a channel, and learns within a second', async () => {
    const { id } = await active()
    const { cached } = await start()
    await cached.resolve('acme')
    await primary.setStatus(id, 'suspended')
    await sleep(900)
    expect(cached.peek('acme')).toBeUndefined()
    expect(looks).toBeGreaterThanOrEqual(2)
  })

  it('looks seldom while the channel is healthy, at once when it is not any more, and is quiet when closed', async () => {
    const { channel, set } = handChannel()
    const { feed } = await start(channel)
    expect(feed.healthy).toBe(false)
    set(true)
    await sleep(150)
    expect(feed.healthy).toBe(true)
    const before = looks
    await sleep(1200)
    expect(looks).toBe(before)
    set(false)
    await sleep(150)
    expect([looks, feed.healthy]).toEqual([before + 1, false])
    feed.close()
    await sleep(900)
    expect(looks).toBe(before + 1)
  })

  it('looks often although the channel is healthy where a writer may fail to reach it', async () => {
    const { channel, set } = handChannel(false)
    const { feed } = await start(channel)
    set(true)
    await sleep(150)
    expect(feed.healthy).toBe(true)
    const before = looks
    await sleep(1200)
    expect(looks).toBeGreaterThanOrEqual(before + 2)
    feed.close()
  })

  it('takes a message for a hint: forgets at once, then reads, and looks often for a while', async () => {
    const { channel, set, say } = handChannel()
    const { id } = await active()
    const { cached } = await start(channel)
    set(true)
    await sleep(150)
    await cached.resolve('acme')
    const before = looks
    say('not an id')
    expect(cached.peek('acme')).not.toBeUndefined()
    say(id)
    expect(cached.peek('acme')).toBeUndefined()
    await sleep(1000)
    expect(looks - before).toBeGreaterThanOrEqual(3)
  })

  it('looks again for a message that comes during a look', async () => {
    const { channel, set, say } = handChannel()
    const { id } = await active()
    const { cached } = await start(channel)
    set(true)
    await sleep(150)
    let open = () => {}
    gate = new Promise((resolve) => (open = resolve))
    const before = looks
    say(id)
    say(id)
    open()
    await sleep(100)
    expect(looks - before).toBe(2)
    expect(await cached.resolve('acme')).toMatchObject({ id })
  })

  it('reads no oftener for a flood of messages, one at a time, and still serves', async () => {
    const { channel, set, say } = handChannel()
    const { id } = await active()
    let reading = 0
    let atOnce = 0
    const { cached } = await start(channel, {
      ...primary,
      async changes(after) {
        looks++
        atOnce = Math.max(atOnce, ++reading)
        await sleep(1)
        reading--
        return (await primary.changes?.(after)) ?? expect.fail()
      },
      // So that each read of a tenant is overtaken by several messages.
      getByIdentifier: async (identifier) => (await sleep(5), primary.getByIdentifier(identifier)),
    })
    set(true)
    await sleep(150)
    const before = looks
    const until = performance.now() + 1000
    const answers: unknown[] = []
    let asking = Promise.resolve()
    for (let n = 0; performance.now() < until; n++) {
      say(n % 2 === 0 ? id : randomUUID())
      if (n % 20 === 0) asking = asking.then(async () => void answers.push(await cached.resolve('acme')))
      await sleep(1)
    }
    await asking
    expect(answers.length).toBeGreaterThan(10)
    for (const answer of answers) expect(answer).toMatchObject({ id, status: 'active' })
    expect(atOnce).toBe(1)
    expect(looks - before).toBeLessThanOrEqual(21)
    expect(looks - before).toBeGreaterThan(5)
  })

  it('asks a store that tells no changes for whom messages named, all with one read, until it answers', async () => {
    const { channel, set, say } = handChannel(false)
    const acme = await active()
    const beta = await primary.insert(newTenant({ identifier: 'beta', status: 'active' }))
    const asked: (readonly string[])[] = []
    let down = true
    const { changes: _, ...without } = primary
    const { cached, changed } = await start(channel, {
      ...without,
      async getByIds(ids) {
        asked.push(ids)
        if (down) throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
        return primary.getByIds(ids)
      },
    })
    set(true)
    await cached.resolve('acme')
    await primary.setStatus(acme.id, 'suspended')
    for (let n = 0; n < 100; n++) for (const { id } of [acme, beta]) say(id)
    expect(cached.peek('acme')).toBeUndefined()
    await sleep(200)
    down = false
    await sleep(800)
    expect(changed).toContainEqual(expect.objectContaining({ id: acme.id, status: 'suspended' }))
    expect(asked.length).toBeLessThanOrEqual(4)
    expect(new Set(asked.at(-1))).toEqual(new Set([acme.id, beta.id]))
    await sleep(600)
    expect(asked.length).toBeLessThanOrEqual(4)
  })

  it('tries again beside a read that does not come back', async () => {
    const { id } = await active()
    let calls = 0
    const { cached } = await start(undefined, {
      ...primary,
      changes: (after) => (++calls === 2 ? new Promise(() => {}) : (primary.changes?.(after) ?? expect.fail())),
    })
    await cached.resolve('acme')
    await primary.setStatus(id, 'suspended')
    await sleep(900)
    expect(cached.peek('acme')).toBeUndefined()
  })

  it('keeps what is cached while the registry is away, says so once, and catches up when it is back', async () => {
    const { id } = await active()
    let down = false
    const { cached } = await start(undefined, {
      ...primary,
      async changes(after) {
        if (down) throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
        return (await primary.changes?.(after)) ?? expect.fail()
      },
    })
    await cached.resolve('acme')
    down = true
    await primary.setStatus(id, 'suspended')
    await sleep(5000)
    expect(cached.peek('acme')).toMatchObject({ status: 'active' })
    expect(warnings).toEqual([expect.stringMatching(/^The registry does not answer: /)])
    down = false
    await sleep(900)
    expect(cached.peek('acme')).toBeUndefined()
    await sleep(500)
    expect(warnings).toHaveLength(2)
  })

  it('empties the cache when it is far behind, and then reads all', async () => {
    const { channel, set } = handChannel()
    const beta = await primary.insert(newTenant({ identifier: 'beta', status: 'active' }))
    const { cached } = await start(channel)
    await cached.resolve('beta')
    for (let n = 0; n < 1200; n++) await primary.insert(newTenant())
    set(true)
    await sleep(200)
    expect(cached.peek('beta')).toBeUndefined()
    expect(await cached.resolve('beta')).toEqual(beta)
    expect(looks).toBe(4)
  })

  it('[W40] misses nothing when it is started again, and listens once', async () => {
    const { channel } = handChannel()
    const { id } = await active()
    let opened = 0
    const counting = { ...channel, open: (listener: ChangeListener) => (opened++, channel.open(listener)) }
    const { cached, feed } = await start(counting)
    await cached.resolve('acme')
    await primary.setStatus(id, 'suspended')
    await feed.start()
    await sleep(900)
    expect(cached.peek('acme')).toBeUndefined()
    expect(opened).toBe(1)
  })

  it('fails to start when the registry is away', async () => {
    const store = { ...primary, changes: () => Promise.reject(tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')) }
    await expect(start(undefined, store)).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
  })
})
