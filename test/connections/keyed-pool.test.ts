import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Lanes, TURN_MS } from '../../src/connections/lanes.ts'
import { acquire, type Connection, keyedWorld, settled, type World } from './keyed-world.ts'

type Step =
  | { readonly do: 'acquire'; readonly key: string }
  | { readonly do: 'drop'; readonly key: string }
  | { readonly do: Chosen; readonly which: number }

type Chosen = 'release' | 'destroy' | 'lose' | 'loseIdle' | 'succeed' | 'fail'

const keys = ['a', 'b', 'c', 'd', 'e']
const key = fc.constantFrom(...keys)
const chosen = (what: Chosen) => fc.record({ do: fc.constant(what), which: fc.nat(20) })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('acquire'), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drop'), key }) },
  { weight: 6, arbitrary: chosen('release') },
  { weight: 1, arbitrary: chosen('destroy') },
  { weight: 1, arbitrary: chosen('lose') },
  { weight: 1, arbitrary: chosen('loseIdle') },
  { weight: 8, arbitrary: chosen('succeed') },
  { weight: 1, arbitrary: chosen('fail') },
)

/** Somebody who asked; `answers` must end at 1. */
interface Asker {
  readonly key: string
  answers: number
  failure?: Error | undefined
}

/** Runs the steps and checks after each of them what must hold at any moment. */
async function play(steps: readonly Step[], budget: number, perKey: number) {
  const world: World = keyedWorld({ budget, perKey })
  const askers: Asker[] = []
  const lent: Connection[] = []
  const dead = new Set<Connection>()
  let failedOpens = 0

  const ask = (key: string) => {
    const asker: Asker = { key, answers: 0 }
    askers.push(asker)
    world.pool.acquire(key, (failure, connection) => {
      asker.answers++
      asker.failure = failure
      if (connection === undefined) return
      expect(connection.key).toBe(key)
      expect(dead.has(connection), 'a connection that was dropped or lost is handed on').toBe(false)
      expect(lent, 'a connection is lent twice').not.toContain(connection)
      expect(world.existing.get(connection)).toBe('open')
      lent.push(connection)
    })
  }
  const pick = <T>(list: readonly T[], which: number) => list[which % list.length]
  const giveBack = (which: number, destroy: boolean) => {
    const connection = pick(lent, which)
    if (connection === undefined) return
    lent.splice(lent.indexOf(connection), 1)
    world.pool.release(connection, destroy)
  }
  const lose = (connection: Connection | undefined) => {
    if (connection === undefined) return
    dead.add(connection)
    world.pool.lost(connection)
  }
  const take = (one: Step) => {
    if (one.do === 'acquire') ask(one.key)
    else if (one.do === 'drop') {
      for (const connection of world.existing.keys()) if (connection.key === one.key) dead.add(connection)
      world.pool.drop(one.key)
    } else if (one.do === 'release' || one.do === 'destroy') giveBack(one.which, one.do === 'destroy')
    else if (one.do === 'lose') lose(pick(lent, one.which))
    else if (one.do === 'loseIdle') {
      lose(
        pick(
          [...world.existing].filter(([c, state]) => state === 'open' && !lent.includes(c)).map(([c]) => c),
          one.which,
        ),
      )
    } else {
      const pending = pick(world.pending, one.which)
      if (one.do === 'fail' && pending?.kind === 'open') failedOpens++
      pending?.[one.do]()
    }
  }
  const check = () => {
    expect(world.existing.size).toBeLessThanOrEqual(budget)
    expect(world.pool.stats().total).toBeLessThanOrEqual(budget)
    expect(world.pool.stats().total).toBeGreaterThanOrEqual(world.existing.size)
    for (const connection of lent) expect(world.existing.get(connection), 'closed while in use').toBe('open')
    for (const asker of askers) expect(asker.answers).toBeLessThanOrEqual(1)
    // Nobody waits for what is there.
    const idle = [...world.existing].filter(([c, state]) => state === 'open' && !lent.includes(c)).map(([c]) => c)
    expect(world.pool.stats().idle).toBe(idle.length)
    for (const { key } of askers.filter(({ answers }) => answers === 0)) {
      expect(idle.some((connection) => connection.key === key)).toBe(false)
    }
  }
  for (const one of steps) {
    take(one)
    await settled()
    check()
  }
  // Everybody goes home: every waiter must have got a connection, or the failure of an attempt for its own key.
  for (let round = 0; world.pending.length + lent.length > 0; round++) {
    expect(round).toBeLessThan(1000)
    world.pending[0]?.succeed()
    giveBack(0, false)
    await settled()
    check()
  }
  expect(askers.filter(({ answers }) => answers !== 1)).toEqual([])
  for (const { key, failure } of askers) {
    if (failure !== undefined) expect(failure.message).toBe(`no open of ${key}`)
  }
  expect(askers.filter(({ failure }) => failure !== undefined).length).toBeLessThanOrEqual(failedOpens)
  expect(world.peak.perKey).toBeLessThanOrEqual(perKey)
  expect(world.pool.stats().waiting).toBe(0)

  const end = world.pool.end(60_000)
  while (world.pending.length > 0) {
    world.pending[0]?.succeed()
    await settled()
  }
  await end
  expect(world.existing.size).toBe(0)
  expect(world.pool.stats()).toEqual({ total: 0, idle: 0, waiting: 0 })
}

describe('keyed pool', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it('[W57] keeps its promises in any order of events', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 80, size: 'max' }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 3 }),
        play,
      ),
      { numRuns: 300 },
    )
  }, 120_000)

  it('[W57] gives 2,000 keys their turn within a budget of 5', async () => {
    const world = keyedWorld({ budget: 5, perKey: 2 }, false)
    const served = new Map<string, number>()
    const use = async (key: string) => {
      const connection = await acquire(world.pool, key)
      expect(connection.key).toBe(key)
      await settled()
      served.set(key, (served.get(key) ?? 0) + 1)
      world.pool.release(connection)
    }
    await Promise.all(Array.from({ length: 4000 }, (_, i) => use(`t${i % 2000}`)))
    expect(served.size).toBe(2000)
    expect(new Set(served.values())).toEqual(new Set([2]))
    expect(world.peak.total).toBe(5)
    expect(world.pool.stats()).toMatchObject({ total: 5, idle: 5, waiting: 0 })
  }, 60_000)

  it('lends the connection used last again, at once, and opens none', async () => {
    const world = keyedWorld({}, false)
    const [first, second] = [await acquire(world.pool, 'a'), await acquire(world.pool, 'a')]
    world.pool.release(first)
    world.pool.release(second)
    let lent: Connection | undefined
    world.pool.acquire('a', (_, connection) => (lent = connection))
    expect(lent).toBe(second)
    expect(world.opened).toBe(2)
  })

  it('makes room with what was used least recently, never with what is in use', async () => {
    const world = keyedWorld({ budget: 3 }, false)
    const [a, b, c] = [await acquire(world.pool, 'a'), await acquire(world.pool, 'b'), await acquire(world.pool, 'c')]
    world.pool.release(b)
    world.pool.release(a)
    const d = await acquire(world.pool, 'd')
    expect(world.closed).toEqual([b])
    await acquire(world.pool, 'e')
    expect(world.closed).toEqual([b, a])
    const waiting = acquire(world.pool, 'f')
    await settled()
    expect(world.closed).toEqual([b, a])
    world.pool.release(d)
    expect((await waiting).key).toBe('f')
    expect(world.existing.get(c)).toBe('open')
  })

  it('a key with a thousand waiters does not keep out one with a single waiter', async () => {
    const world = keyedWorld({ budget: 2, perKey: 2 }, false)
    let crowded = 0
    const use = async (key: string) => {
      const connection = await acquire(world.pool, key)
      await sleep(5)
      world.pool.release(connection)
    }
    const crowd = Array.from({ length: 1000 }, () => use('crowded').then(() => crowded++))
    await sleep(20)
    const single = acquire(world.pool, 'single')
    world.pool.release(await single)
    // A turn of 50 ms, two connections, 5 ms each: about 20.
    expect(crowded).toBeLessThan(60)
    await Promise.all(crowd)
    expect(crowded).toBe(1000)
  }, 30_000)

  it('a connection serves its own key for one turn, then who has waited longest', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const world = keyedWorld({ budget: 1 }, false)
    const order: string[] = []
    const ask = (key: string) => acquire(world.pool, key).then((connection) => (order.push(key), connection))
    const first = await ask('a')
    void ask('b')
    void ask('a')
    vi.advanceTimersByTime(TURN_MS - 1)
    world.pool.release(first)
    await settled()
    expect(order).toEqual(['a', 'a'])
    void ask('a')
    vi.advanceTimersByTime(1)
    world.pool.release(first)
    await settled()
    expect(order).toEqual(['a', 'a', 'b'])
    expect(world.closed).toEqual([first])
  })

  it('waiters of one key are served in order', async () => {
    const world = keyedWorld({ budget: 1 }, false)
    const order: number[] = []
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const connection = await acquire(world.pool, 'a')
        order.push(i)
        await settled()
        world.pool.release(connection)
      }),
    )
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i))
  })

  it('a failure to open reaches one waiter of that key, and its place is free again', async () => {
    const world = keyedWorld({ budget: 1 })
    const [first, second, other] = [acquire(world.pool, 'a'), acquire(world.pool, 'a'), acquire(world.pool, 'b')]
    await settled()
    expect(world.pending.map(({ kind, key }) => `${kind} ${key}`)).toEqual(['open a'])
    world.pending[0]?.fail()
    await expect(first).rejects.toThrow('no open of a')
    await settled()
    world.pending[0]?.succeed()
    const connection = await second
    expect(connection.key).toBe('a')
    world.pool.release(connection)
    await settled()
    world.pending[0]?.succeed()
    await settled()
    world.pending[0]?.succeed()
    expect((await other).key).toBe('b')
  })

  it('waits no longer than it says, with 503 and Retry-After, and a late connection is kept for the next', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const world = keyedWorld({ budget: 1, timeoutMs: 250 })
    const asked = acquire(world.pool, 'a').catch((error: unknown) => error)
    await settled()
    vi.advanceTimersByTime(249)
    expect(world.pool.stats().waiting).toBe(1)
    vi.advanceTimersByTime(1)
    const error = await asked
    expect(error).toMatchObject({ code: 'TENANCY_ERR_POOL_TIMEOUT', statusCode: 503, headers: { 'retry-after': '5' } })
    world.pending[0]?.succeed()
    await settled()
    expect(world.pool.stats()).toEqual({ total: 1, idle: 1, waiting: 0 })
  })

  it('sets no timer when a connection is there', async () => {
    const world = keyedWorld({}, false)
    world.pool.release(await acquire(world.pool, 'a'))
    const timers = vi.spyOn(globalThis, 'setTimeout')
    for (let i = 0; i < 100; i++) {
      world.pool.acquire('a', (_, connection) => world.pool.release(connection as Connection))
    }
    expect(timers).not.toHaveBeenCalled()
    timers.mockRestore()
  })

  it('closes what is idle for long, and what is old when it comes back', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const world = keyedWorld({ idleMs: 1000, maxLifetimeMs: 5000 }, false)
    const [a, b] = [await acquire(world.pool, 'a'), await acquire(world.pool, 'b')]
    world.pool.release(a)
    vi.advanceTimersByTime(2000)
    await settled()
    expect(world.closed).toEqual([a])
    vi.advanceTimersByTime(3000)
    world.pool.release(b)
    await settled()
    expect(world.closed).toEqual([a, b])
    expect(world.pool.stats().total).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('[W54] a dropped key loses its idle connections now and the others on release', async () => {
    const world = keyedWorld({}, false)
    const [idle, used, other] = [
      await acquire(world.pool, 'a'),
      await acquire(world.pool, 'a'),
      await acquire(world.pool, 'b'),
    ]
    world.pool.release(idle)
    world.pool.release(other)
    world.pool.drop('a')
    expect(world.closed).toEqual([idle])
    world.pool.release(used)
    expect(world.closed).toEqual([idle, used])
    expect(world.existing.get(other)).toBe('open')
    expect((await acquire(world.pool, 'a')).number).toBe(4)
  })

  it('a connection that comes back twice is lent once', async () => {
    const world = keyedWorld({}, false)
    const connection = await acquire(world.pool, 'a')
    world.pool.release(connection)
    world.pool.release(connection, true)
    expect(world.pool.stats()).toEqual({ total: 1, idle: 1, waiting: 0 })
    const [one, two] = [await acquire(world.pool, 'a'), await acquire(world.pool, 'a')]
    expect(one).not.toBe(two)
  })

  it('who gives back and asks again at once does not overtake who waits', async () => {
    const world = keyedWorld({ budget: 1, perKey: 1 }, false)
    const connection = await acquire(world.pool, 'a')
    const order: string[] = []
    const again = (name: string) => (_: Error | undefined, lent?: Connection) => {
      order.push(name)
      world.pool.release(lent as Connection)
    }
    world.pool.acquire('a', (_, lent) => {
      world.pool.release(lent as Connection)
      world.pool.acquire('a', again('first again'))
    })
    world.pool.acquire('a', again('second'))
    world.pool.release(connection)
    expect(order).toEqual(['second', 'first again'])
  })

  it('opens nothing for who has left while room was made', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const world = keyedWorld({ budget: 1, timeoutMs: 10 })
    const first = acquire(world.pool, 'a')
    await settled()
    world.pending[0]?.succeed()
    world.pool.release(await first)
    const left = acquire(world.pool, 'b').catch((error: unknown) => error)
    await settled()
    expect(world.pending.map(({ kind, key }) => `${kind} ${key}`)).toEqual(['close a'])
    vi.advanceTimersByTime(10)
    await left
    world.pending[0]?.succeed()
    await settled()
    expect(world.pending).toEqual([])
    expect(world.pool.stats()).toEqual({ total: 0, idle: 0, waiting: 0 })
  })

  it('remembers nothing of a key without connections', () => {
    const lanes = new Lanes<Connection>(1)
    const lane = lanes.of('a')
    const entry = lanes.reserve(lane)
    expect(lanes.of('a')).toBe(lane)
    lanes.remove(entry)
    expect(lanes.of('a')).not.toBe(lane)
  })

  it('thousands of waiters that give back at once do not overflow the stack', async () => {
    const world = keyedWorld({ budget: 1, perKey: 1 }, false)
    const connection = await acquire(world.pool, 'a')
    let served = 0
    for (let i = 0; i < 20_000; i++) {
      world.pool.acquire('a', (_, lent) => {
        served++
        world.pool.release(lent as Connection)
      })
    }
    world.pool.release(connection)
    expect(served).toBe(20_000)
  })

  it('ends: refuses who waits or comes, closes what is idle, waits for what is in use, and not for ever', async () => {
    const world = keyedWorld({ budget: 2 }, false)
    const [used, kept] = [await acquire(world.pool, 'a'), await acquire(world.pool, 'b')]
    const waiting = acquire(world.pool, 'c')
    const ended = world.pool.end(100)
    await expect(waiting).rejects.toMatchObject({ code: 'TENANCY_ERR_CLOSED' })
    await expect(acquire(world.pool, 'a')).rejects.toMatchObject({ code: 'TENANCY_ERR_CLOSED' })
    world.pool.release(used)
    await settled()
    expect(world.closed).toEqual([used])
    await Promise.all([ended, world.pool.end(100)])
    expect(world.closed).toEqual([used, kept])
    world.pool.release(kept)
    expect(world.existing.size).toBe(0)
  })
})
