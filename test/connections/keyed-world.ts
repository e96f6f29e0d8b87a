import { createKeyedPool, type KeyedPool, type KeyedPoolOptions } from '../../src/connections/keyed-pool.ts'

/** A connection that leads nowhere. */
export interface Connection {
  readonly key: string
  readonly number: number
}

/** Something that the world outside has not answered yet. */
export interface Pending {
  readonly kind: 'open' | 'close'
  readonly key: string
  succeed(): void
  fail(): void
}

/** A server that counts its connections and answers when it is told to, with the pool before it. */
export interface World {
  readonly pool: KeyedPool<Connection>
  readonly pending: Pending[]
  /** Connections that exist: also those that are being opened or closed. */
  readonly existing: Map<Connection, 'opening' | 'open' | 'closing'>
  /** The most that existed at once: of all keys; of any one, those being closed not counted. */
  readonly peak: { total: number; perKey: number }
  /** How many were opened. */
  readonly opened: number
  /** Connections whose closing was asked for. */
  readonly closed: Connection[]
}

/** Builds a {@link World}; with `slow` false it answers by itself, at once. */
export function keyedWorld(limits: Partial<KeyedPoolOptions<Connection>> = {}, slow = true): World {
  const pending: Pending[] = []
  const existing: World['existing'] = new Map()
  const closed: Connection[] = []
  const peak = { total: 0, perKey: 0 }
  let numbers = 0

  const wait = (kind: Pending['kind'], key: string): Promise<void> => {
    if (!slow) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const answer = (act: () => void) => () => {
        pending.splice(pending.indexOf(one), 1)
        act()
      }
      const one: Pending = {
        kind,
        key,
        succeed: answer(resolve),
        fail: answer(() => reject(new Error(`no ${kind} of ${key}`))),
      }
      pending.push(one)
    })
  }
  const pool = createKeyedPool<Connection>({
    budget: 4,
    perKey: 2,
    timeoutMs: 60_000,
    idleMs: 60_000,
    maxLifetimeMs: 60_000,
    ...limits,
    async open(key) {
      const connection = { key, number: ++numbers }
      existing.set(connection, 'opening')
      peak.total = Math.max(peak.total, existing.size)
      peak.perKey = Math.max(
        peak.perKey,
        [...existing].filter(([one, state]) => one.key === key && state !== 'closing').length,
      )
      try {
        await wait('open', key)
        existing.set(connection, 'open')
        return connection
      } catch (error) {
        existing.delete(connection)
        throw error
      }
    },
    async close(connection) {
      closed.push(connection)
      existing.set(connection, 'closing')
      try {
        await wait('close', connection.key)
      } finally {
        existing.delete(connection)
      }
    },
  })
  return {
    pool,
    pending,
    existing,
    peak,
    closed,
    get opened() {
      return numbers
    },
  }
}

/** Lets everything happen that is ready to. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** `acquire` as a promise. */
export function acquire(pool: KeyedPool<Connection>, key: string): Promise<Connection> {
  return new Promise((resolve, reject) => {
    pool.acquire(key, (failure, connection) => (connection === undefined ? reject(failure) : resolve(connection)))
  })
}
