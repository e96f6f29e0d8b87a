import type { PoolStats } from '../contracts/dialect.ts'
import { tenancyError } from '../errors.ts'
import { type Entry, type Lane, Lanes, type Ready, type Waiter } from './lanes.ts'

export type { Ready } from './lanes.ts'

/** Options of {@link createKeyedPool}. */
export interface KeyedPoolOptions<C extends object> {
  /** Opens a connection to what the key names. */
  open(key: string): Promise<C>
  /** Closes one, also while it is in use. When it settles, whichever way, the connection counts as gone. */
  close(connection: C): Promise<void>
  /** Connections at any moment, of all keys together: open, being opened or being closed. */
  readonly budget: number
  /** Connections of one key at any moment, not counting those being closed. */
  readonly perKey: number
  /** Longest wait for a connection, opening included. */
  readonly timeoutMs: number
  /** Unused for this long, a connection is closed; it may take twice as long. */
  readonly idleMs: number
  /** Older than this, a connection is closed when it comes back. */
  readonly maxLifetimeMs: number
}

/** Connections to many places under one limit. */
export interface KeyedPool<C extends object> {
  /**
   * Lends a connection of `key`: at once if one is idle, else when the limits allow to open one, else when it is this
   * key's turn. `ready` is called once, in any context, with TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_CLOSED or what
   * `open` failed with instead.
   */
  acquire(key: string, ready: Ready<C>): void
  /** Takes it back; `destroy` closes it. Anything that is not lent is ignored. */
  release(connection: C, destroy?: boolean): void
  /** The connection broke: it is lent to nobody any more. */
  lost(connection: C): void
  /** Closes the idle connections of `key` now, the others when they come back. Whoever waits gets a new one. */
  drop(key: string): void
  /** Lends nothing any more; connections in use longer than `patienceMs` are closed under their users. */
  end(patienceMs: number): Promise<void>
  stats(): PoolStats
}

/**
 * A pool of connections to many databases with one budget for all of them, which pg-pool, tarn and generic-pool do not
 * know: each of theirs counts for itself.
 *
 * Whose turn it is: the key that has the fewest connections, then who came first. So a key with a thousand waiters cannot
 * keep out one with a single waiter. A turn lasts a few statements, because connecting costs more than most of them. What
 * is idle elsewhere and was used least recently makes room.
 */
export function createKeyedPool<C extends object>(options: KeyedPoolOptions<C>): KeyedPool<C> {
  const { budget, perKey, timeoutMs, idleMs, maxLifetimeMs } = options
  const lanes = new Lanes<C>(perKey)
  /** Closing without a successor. One that makes room for another is counted there. */
  let closing = 0
  let tickets = 0
  let dispatching = false
  let sweeper: NodeJS.Timeout | undefined
  let ending = false
  let over = () => {}
  const ended = new Promise<void>((resolve) => (over = resolve))

  const close = async (connection: C | undefined): Promise<void> => {
    try {
      if (connection !== undefined) await options.close(connection)
    } catch {
      // As gone as it can be.
    }
  }
  const discard = (entry: Entry<C>): void => {
    lanes.remove(entry)
    closing++
    void close(entry.connection).finally(() => {
      closing--
      dispatch()
    })
  }

  /** Opens a connection when there is room for it. */
  const open = async (lane: Lane<C>, room?: Promise<void>): Promise<void> => {
    const entry = lanes.reserve(lane)
    try {
      await room
      const connection = lanes.wants(lane) ? await options.open(lane.key) : undefined
      if (connection === undefined) lanes.remove(entry)
      else opened(entry, connection)
    } catch (error) {
      const waiter = lanes.dequeue(lane)
      lanes.remove(entry)
      if (waiter !== undefined) settle(waiter, error as Error)
    }
    dispatch()
  }
  const opened = (entry: Entry<C>, connection: C): void => {
    lanes.opened(entry, connection)
    if (entry.doomed || ending) discard(entry)
    else rest(entry)
  }
  const rest = (entry: Entry<C>): void => {
    lanes.rest(entry)
    sweeper ??= setTimeout(sweep, idleMs).unref()
  }
  const sweep = (): void => {
    const now = performance.now()
    for (const entry of lanes.idle) {
      if (now - entry.idleSince < idleMs) break
      discard(entry)
    }
    sweeper = lanes.idle.size === 0 ? undefined : setTimeout(sweep, idleMs).unref()
  }

  /** Hands out what there is. Not from inside itself: those who get a connection may give it back at once. */
  const dispatch = (): void => {
    if (dispatching) return
    dispatching = true
    try {
      for (let lane = lanes.next(); lane !== undefined && serve(lane); lane = lanes.next());
    } finally {
      dispatching = false
    }
    if (ending && lanes.size + closing === 0) over()
  }
  /** One step for the lane whose turn it is; false when nothing is left to hand out. */
  const serve = (lane: Lane<C>): boolean => {
    const own = lane.idle.at(-1)
    if (own !== undefined) {
      settle(lanes.dequeue(lane) as Waiter<C>, undefined, lanes.lend(own))
      return true
    }
    if (lanes.size + closing < budget) {
      void open(lane)
      return true
    }
    const [least] = lanes.idle
    if (least === undefined) return false
    lanes.remove(least)
    void open(lane, close(least.connection))
    return true
  }

  return Object.freeze({
    acquire(key: string, ready: Ready<C>) {
      if (ending) {
        ready(tenancyError('TENANCY_ERR_CLOSED'))
        return
      }
      const lane = lanes.of(key)
      const own = dispatching ? undefined : lane.idle.at(-1)
      // While something is idle nobody waits who could have it.
      if (own !== undefined) {
        ready(undefined, lanes.lend(own))
        return
      }
      const waiter: Waiter<C> = {
        ready,
        ticket: tickets++,
        timer: setTimeout(() => {
          lanes.dequeue(lane, waiter)
          ready(tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs]))
        }, timeoutMs).unref(),
      }
      lanes.enqueue(lane, waiter)
      dispatch()
    },

    release(connection: C, destroy = false) {
      const entry = lanes.holding(connection)
      if (entry?.state !== 'lent') return
      const old = performance.now() - entry.openedAt >= maxLifetimeMs
      if (destroy || old || entry.doomed || ending) discard(entry)
      else rest(entry)
      dispatch()
    },

    lost(connection: C) {
      const entry = lanes.holding(connection)
      if (entry === undefined) return
      entry.doomed = true
      if (entry.state === 'idle') discard(entry)
      dispatch()
    },

    drop(key: string) {
      for (const entry of lanes.entriesOf(key)) {
        entry.doomed = true
        if (entry.state === 'idle') discard(entry)
      }
      dispatch()
    },

    async end(patienceMs: number) {
      ending = true
      clearTimeout(sweeper)
      for (const waiter of lanes.dismiss()) settle(waiter, tenancyError('TENANCY_ERR_CLOSED'))
      for (const entry of lanes.idle) discard(entry)
      dispatch()
      const impatience = setTimeout(() => {
        for (const entry of lanes.lent()) discard(entry)
      }, patienceMs)
      await ended
      clearTimeout(impatience)
    },

    stats: () => ({ total: lanes.size + closing, idle: lanes.idle.size, waiting: lanes.waiting }),
  } satisfies KeyedPool<C>)
}

function settle<C extends object>({ ready, timer }: Waiter<C>, failure: Error | undefined, connection?: C): void {
  clearTimeout(timer)
  ready(failure, connection)
}
