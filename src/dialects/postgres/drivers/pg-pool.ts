import { currentContext, enterContext } from '../../../context.ts'
import { tenancyError } from '../../../errors.ts'
import { checkoutFailure } from '../failure.ts'
import { watchingClient } from './pg-client.ts'
import type { PgClient, PgModule, PgPool, PgPoolOptions } from './pg-types.ts'

/** Longest wait for a new connection itself. Two fit into the 10 s after which Fastify gives up a start without a code. */
const CONNECT_TIMEOUT_MS = 4000
/** A connection that is silent so long is asked for a sign of life: one that a firewall forgot would be waited for without end. */
const KEEP_ALIVE_MS = 10_000

/** What every connection has that tenants or the admin use. */
export const LIVELY = Object.freeze({
  connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  keepAlive: true,
  keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
})

/** Called once, in the context of who asked, with a connection or with what kept it from coming. */
export type Ready = (failure: Error | undefined, client?: PgClient) => void

/** Where the connections to one database come from. */
export interface ConnectionSource {
  readonly pg: PgModule
  /** Takes a connection, or fails with TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_DATABASE_UNAVAILABLE or TENANCY_ERR_CLOSED. */
  checkout(ready: Ready): void
}

/**
 * Takes a connection; `ready` is called in the context of the caller. The pool itself works outside of any: a socket keeps
 * the context it was opened in, and would run the callbacks of every later tenant as the first; and a waiter is called
 * in the context of whoever frees the connection.
 *
 * One that its last user left altered is closed, and another one taken.
 *
 * The wait is timed here and not by the pool, which would set and clear a timer for every statement although an idle
 * connection is there almost always.
 */
export function checkoutFrom(pool: PgPool, timeoutMs: number, ready: Ready): void {
  const context = currentContext()
  let timer: NodeJS.Timeout | undefined
  let late = false
  // Who asked in this same turn is counted as waiting, so each idle connection spares one timer.
  if (pool.idleCount <= pool.waitingCount) {
    timer = setTimeout(() => {
      late = true
      ready(tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs]))
    }, timeoutMs)
    timer.unref()
  }
  const settle = (failure: Error | undefined, client?: PgClient) => {
    clearTimeout(timer)
    if (late) client?.release()
    else if (client === undefined) ready(checkoutFailure(failure))
    else if (client.altered === true) {
      client.release(true)
      checkoutFrom(pool, timeoutMs, ready)
    } else ready(undefined, client)
  }
  enterContext(undefined, () => pool.connect((failure, client) => enterContext(context, () => settle(failure, client))))
}

/** A pool that can be ended whatever is still checked out. */
export interface EndablePool extends ConnectionSource {
  readonly pool: PgPool
  /** Ends the pool; connections that are in use longer than `patienceMs` are cut, and so is what runs on them. */
  end(patienceMs: number): Promise<void>
}

/** Opens a pool whose checkouts wait `timeoutMs` at most; nothing connects before the first. */
export function openPool(pg: PgModule, timeoutMs: number, options: Omit<PgPoolOptions, 'Client'>): EndablePool {
  // A wait for a free connection may be long in a rush; a server that does not answer is down.
  class Client extends watchingClient(pg) {
    constructor(clientOptions: object) {
      super({ ...clientOptions, ...LIVELY })
    }
  }
  const clients = new Set<PgClient>()
  const pool = new pg.Pool({ ...options, Client })
  pool.on('connect', (client) => {
    clients.add(client)
    // The pool listens to idle ones alone: without this, one that dies while somebody has it would end the process.
    client.on('error', () => {})
  })
  pool.on('remove', (client) => void clients.delete(client))
  // An idle connection that dies is replaced by the pool; the next statement tells if the server is gone.
  pool.on('error', () => {})

  const end = async (patienceMs: number): Promise<void> => {
    const impatience = setTimeout(() => {
      for (const client of clients) client.end().catch(() => {})
    }, patienceMs)
    try {
      await pool.end()
    } finally {
      clearTimeout(impatience)
    }
  }
  return Object.freeze({ pg, pool, end, checkout: (ready: Ready) => checkoutFrom(pool, timeoutMs, ready) })
}
