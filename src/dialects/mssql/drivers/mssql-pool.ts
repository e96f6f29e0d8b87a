import { currentContext, enterContext } from '../../../context.ts'
import type { PoolStats } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { checkoutFailure } from '../failure.ts'
import { cut, Lease } from './mssql-lease.ts'
import type { MssqlAddress, MssqlModule, TdsConnection } from './mssql-types.ts'

/** Longest wait for a new connection itself. Two fit into the 10 s after which Fastify gives up a start without a code. */
const CONNECT_TIMEOUT_MS = 4000
const IDLE_MS = 30_000

/** Options of {@link openPool}. */
export interface PoolOptions {
  readonly address: MssqlAddress
  /** Connections kept when idle. */
  readonly keep: number
  readonly max: number
  /** Milliseconds a checkout may wait. */
  readonly timeoutMs: number
  /** Milliseconds after which a connection is replaced. */
  readonly recycleMs: number
  /** Whether an error undoes the transaction it is in, and not the statement alone. */
  readonly abortOnError: boolean
}

/** Connections that all share, lent to one at a time. */
export interface Pool {
  /** Takes a connection; `ready` is called in the context of the caller, once. */
  checkout(ready: (failure: Error | undefined, lease?: Lease) => void): void
  stats(): PoolStats
  /** Ends the pool; connections that are in use longer than `patienceMs` are cut, and so is what runs on them. */
  end(patienceMs: number): Promise<void>
}

/**
 * Opens a pool; nothing connects before the first checkout. The pool itself works outside of any context: a socket keeps
 * the context it was opened in, and a waiter is called in the context of whoever frees the connection. mssql's pool never
 * resets a session, so nothing may leave anything in one.
 */
export function openPool(mssql: MssqlModule, options: PoolOptions): Pool {
  const { keep, max, timeoutMs, recycleMs } = options
  const pool = new mssql.ConnectionPool(configOf(options, keep, max))
  // Told to whoever asked, too.
  pool.on('error', () => {})
  const born = new WeakMap<TdsConnection, number>()
  const lent = new Set<TdsConnection>()
  let connecting: Promise<unknown> | undefined
  let ending: (() => void) | true | undefined

  const giveBack = (connection: TdsConnection, broken: boolean) => {
    lent.delete(connection)
    const old = Date.now() - (born.get(connection) ?? 0) >= recycleMs
    // The pool looks whether a connection is closed before it lends it again.
    if (broken || old || ending !== undefined) cut(connection)
    enterContext(undefined, () => pool.release(connection))
    if (lent.size === 0 && typeof ending === 'function') ending()
  }
  const acquire = async (): Promise<TdsConnection> => {
    if (ending !== undefined) throw tenancyError('TENANCY_ERR_CLOSED')
    connecting ??= pool.connect().catch((error: unknown) => {
      connecting = undefined
      throw error
    })
    await connecting
    const connection = await pool.acquire(undefined)
    lent.add(connection)
    if (!born.has(connection)) born.set(connection, Date.now())
    if (ending === undefined) return connection
    giveBack(connection, true)
    throw tenancyError('TENANCY_ERR_CLOSED')
  }

  return Object.freeze({
    checkout: (ready: Parameters<Pool['checkout']>[0]) => {
      const context = currentContext()
      const settle = (failure: Error | undefined, lease?: Lease) => enterContext(context, () => ready(failure, lease))
      enterContext(undefined, acquire).then(
        (connection) =>
          settle(undefined, new Lease(mssql, connection, pool.config, (broken) => giveBack(connection, broken))),
        (error: unknown) => {
          const failure = ending === undefined ? error : tenancyError('TENANCY_ERR_CLOSED', [], error)
          settle(checkoutFailure(failure, timeoutMs))
        },
      )
    },
    stats: () =>
      connecting === undefined
        ? { total: 0, idle: 0, waiting: 0 }
        : { total: lent.size + pool.available, idle: pool.available, waiting: pool.pending },
    async end(patienceMs: number) {
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
      await connecting?.catch(() => {})
      if (connecting !== undefined) await pool.close()
    },
  } satisfies Pool)
}

/** {@link Pool.checkout} as a promise, for what does not mind the turn in between. */
export function lend(pool: Pool): Promise<Lease> {
  return new Promise((resolve, reject) => {
    pool.checkout((failure, lease) => (lease === undefined ? reject(failure) : resolve(lease)))
  })
}

function configOf({ address, timeoutMs, abortOnError }: PoolOptions, keep: number, max: number) {
  const { encrypt, trustServerCertificate, ...where } = address
  return {
    ...where,
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: 0,
    // It would be one more network turn for each statement, without an end where nothing answers. A closed one is seen without.
    validateConnection: false,
    options: {
      encrypt,
      trustServerCertificate,
      appName: 'fastify-tenancy',
      // A Date means the same on every machine, as Drizzle's own columns do.
      useUTC: true,
      enableQuotedIdentifier: true,
      abortTransactionOnError: abortOnError,
    },
    pool: {
      min: Math.min(keep, max),
      max,
      acquireTimeoutMillis: timeoutMs,
      // Who waited in vain leaves a connection to the next.
      createTimeoutMillis: 2 * CONNECT_TIMEOUT_MS,
      idleTimeoutMillis: IDLE_MS,
    },
  } as const
}
