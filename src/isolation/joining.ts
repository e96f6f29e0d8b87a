import { runInTransaction, runInTransactionNow } from '../context.ts'
import type { Guard } from '../contracts/dialect.ts'
import { tenancyError } from '../errors.ts'
import { refuseAsynchronous } from '../util/synchronous.ts'

/** What we rely on of every Drizzle database, in both versions. */
export interface DrizzleDatabase {
  readonly $client?: unknown
  readonly $cache?: unknown
  readonly $primary?: unknown
  readonly session?: unknown
  transaction(work: (transaction: DrizzleDatabase) => unknown, ...options: unknown[]): unknown
}

/** Runs the callback of a transaction so that `getTenantDb()` inside is its database. */
type Run = (tenantId: string, database: object, work: () => unknown) => unknown

/** Makes `getTenantDb()` inside a transaction's callback that transaction, at every depth. */
export function joining(database: DrizzleDatabase, tenantId: string, run: Run = runInTransaction): DrizzleDatabase {
  const begin = database.transaction.bind(database)
  return withTransaction(database, (work, ...options) =>
    begin((inner) => run(tenantId, joining(inner, tenantId, run), () => work(inner)), ...options),
  )
}

/**
 * The same where a transaction is one synchronous call. There Drizzle has one client for a database and its transactions, so each
 * transaction gets a database of its own, whose statements are refused as soon as it is over: what an `async` callback does after its first
 * `await` would else be done outside of it.
 * @param make builds a database whose statements ask the guard that it is given
 */
export function joiningNow(tenantId: string, guard: Guard, make: (guard: Guard) => DrizzleDatabase): DrizzleDatabase {
  return withTransaction(make(guard), (work, ...options) => {
    let over = false
    const once = make((moment) => {
      if (over) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
      guard(moment)
    })
    try {
      return joining(once, tenantId, runInTransactionNow).transaction(work, ...options)
    } finally {
      over = true
    }
  })
}

/** Makes a database that is nobody's refuse transactions whose callback is asynchronous, which drizzle-orm 1.0 would commit half done. */
export function synchronousOnly(database: DrizzleDatabase): DrizzleDatabase {
  const begin = database.transaction.bind(database)
  return withTransaction(database, (work, ...options) => begin((inner) => refuseAsynchronous(work(inner)), ...options))
}

function withTransaction(database: DrizzleDatabase, transaction: DrizzleDatabase['transaction']): DrizzleDatabase {
  return Object.defineProperty(database, 'transaction', { value: transaction, configurable: true, writable: true })
}
