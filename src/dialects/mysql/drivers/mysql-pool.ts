import { currentContext, enterContext } from '../../../context.ts'
import type { PoolStats } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { inTime } from '../../../util/in-time.ts'
import { checkoutFailure } from '../failure.ts'
import { cut, Lease } from './mysql-lease.ts'
import { prepareConnection } from './mysql-session.ts'
import type { MysqlAddress, MysqlConnection, MysqlModule } from './mysql-types.ts'

/** Longest wait for a new connection itself. Two fit into the 10 s after which Fastify gives up a start without a code. */
const CONNECT_TIMEOUT_MS = 4000
/** A connection that is silent so long is asked for a sign of life: one that a firewall forgot would be waited for without end. */
const KEEP_ALIVE_MS = 10_000

/** Options of {@link openPool}. */
export interface PoolOptions {
  readonly address: MysqlAddress
  /** Connections kept when idle. */
  readonly keep: number
  readonly max: number
  /** Milliseconds a checkout may wait. */
  readonly timeoutMs: number
  /** Milliseconds after which a connection is replaced. */
  readonly recycleMs: number
}

/** Connections that all share, each with its session as we want it, lent to one at a time. */
export interface Pool {
  /** Takes a connection; `ready` is called in the context of the caller, once. */
  checkout(ready: (failure: Error | undefined, lease?: Lease) => void): void
  stats(): PoolStats
  /** Ends the pool; connections that are in use longer than `patienceMs` are cut, and so is what runs on them. */
  end(patienceMs: number): Promise<void>
}

/**
 * Opens a pool; nothing connects before the first checkout. The pool itself works outside of any context: a socket keeps
 * the context it was opened in, and would run the callbacks of every later tenant as the first; and a waiter is called
 * in the context of whoever frees the connection.
 */
export function openPool(mysql: MysqlModule, { address, keep, max, timeoutMs, recycleMs }: PoolOptions): Pool {
  const pool = enterContext(undefined, () =>
    mysql.createPool({
      ...address,
      connectionLimit: max,
      maxIdle: keep,
      connectTimeout: CONNECT_TIMEOUT_MS,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
      charset: 'utf8mb4',
      // A Date means the same on every machine, as Drizzle's own columns do.
      timezone: 'Z',
      supportBigNumbers: true,
      multipleStatements: false,
      flags: ['-LOCAL_FILES'],
    }),
  )
  /** Connections whose session is as we want it, with the time of their birth. */
  const alive = new Map<MysqlConnection, number>()
  const lent = new Set<MysqlConnection>()
  let waiting = 0
  let ending: (() => void) | true | undefined

  const giveBack = (connection: MysqlConnection, broken: boolean) => {
    lent.delete(connection)
    const born = alive.get(connection)
    const replaced = born === undefined || ending !== undefined || Date.now() - born >= recycleMs
    if (broken || replaced) cut(connection)
    else enterContext(undefined, () => connection.release())
    if (lent.size === 0 && typeof ending === 'function') ending()
  }

  const prepare = (connection: MysqlConnection, done: (failure?: unknown) => void) => {
    if (alive.has(connection)) {
      done()
      return
    }
    // For as long as it lives: without a listener an idle connection that dies would end the process.
    connection.on('error', () => alive.delete(connection))
    connection.on('end', () => alive.delete(connection))
    // A server that takes logins and answers nothing would hold it, and who waits for it.
    inTime(prepareConnection(connection), CONNECT_TIMEOUT_MS, () => tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE'))
      .then(() => void alive.set(connection, Date.now()))
      .then(() => done(), done)
  }

  const checkout: Pool['checkout'] = (ready) => {
    const context = currentContext()
    let timer: NodeJS.Timeout | undefined
    let over = false
    const settle = (failure: unknown, connection?: MysqlConnection) => {
      if (over) {
        if (connection !== undefined) giveBack(connection, false)
        return
      }
      over = true
      waiting--
      clearTimeout(timer)
      enterContext(context, () => {
        if (connection === undefined) ready(checkoutFailure(failure))
        else ready(undefined, new Lease(connection, (broken) => giveBack(connection, broken)))
      })
    }
    // Who asked in this same turn is counted as waiting, so each idle connection spares one timer.
    if (alive.size - lent.size <= waiting) {
      timer = setTimeout(settle, timeoutMs, tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs]))
      timer.unref()
    }
    waiting++
    enterContext(undefined, () =>
      pool.getConnection((failure, connection) => {
        if (connection === undefined) {
          settle(failure)
          return
        }
        lent.add(connection)
        prepare(connection, (problem) => {
          if (problem === undefined && ending === undefined) settle(undefined, connection)
          else {
            giveBack(connection, true)
            settle(problem ?? tenancyError('TENANCY_ERR_CLOSED'))
          }
        })
      }),
    )
  }

  const end = async (patienceMs: number): Promise<void> => {
    ending = true
    if (lent.size > 0) {
      let impatience: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        ending = resolve
        impatience = setTimeout(resolve, patienceMs)
      })
      clearTimeout(impatience)
      for (const connection of lent) cut(connection)
    }
    // A connection that is gone already says so here; nobody wants to know any more.
    await new Promise<void>((resolve) => pool.end(() => resolve()))
  }

  return Object.freeze({
    checkout,
    stats: () => ({
      total: alive.size,
      idle: Math.max(0, alive.size - lent.size),
      waiting,
    }),
    end,
  })
}

/** {@link Pool.checkout} as a promise, for what does not mind the turn in between. */
export function lend(pool: Pool): Promise<Lease> {
  return new Promise((resolve, reject) => {
    pool.checkout((failure, lease) => (lease === undefined ? reject(failure) : resolve(lease)))
  })
}
