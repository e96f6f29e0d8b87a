/** The parts of PGlite that this folder uses, described structurally. Tested with 0.5. */

/** A result; Drizzle maps `rows`. */
export interface PgliteResult {
  readonly rows: unknown[]
  readonly affectedRows?: number
}

/** Options of `query`: row mode and parsers, handed on as they come. */
export type PgliteQueryOptions = Readonly<Record<string, unknown>>

/** Inside `transaction()`. */
export interface PgliteTransaction {
  query(text: string, parameters?: readonly unknown[], options?: PgliteQueryOptions): Promise<PgliteResult>
  exec(text: string): Promise<PgliteResult[]>
  rollback(): Promise<void>
}

/** One embedded database: one connection. */
export interface Pglite {
  exec(text: string): Promise<PgliteResult[]>
  transaction<T>(work: (transaction: PgliteTransaction) => Promise<T>): Promise<T>
  close(): Promise<void>
  readonly closed: boolean
}
