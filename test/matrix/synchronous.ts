import type { Db } from './cell.ts'

/** A database whose transactions are one call. */
export type SyncDb = Omit<Db, 'transaction'> & {
  transaction<T>(work: (tx: SyncTx) => T, config?: object): T
}

/** A transaction of it. */
export type SyncTx = SyncDb

interface Synchronous {
  all(): unknown
  run(): unknown
}

/** What a database is where its transactions are one call. */
export const syncOf = (db: object): SyncDb => db as SyncDb

/** Carries a query out at once, where a database can. */
export const all = <T>(query: PromiseLike<T>): T => (query as unknown as Synchronous).all() as T
export const run = (query: object): unknown => (query as Synchronous).run()
