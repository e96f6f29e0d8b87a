/** The parts of PGlite that this folder uses, described structurally. Tested with 0.5. */

/** A result; Drizzle maps `rows`. */
export interface PgliteResult {
  readonly rows: unknown[]
  readonly affectedRows?: number
}

/** Options of `query`: row mode and parsers, handed on as they come. */
export type PgliteQueryOptions = Readonly<Record<string, unknown>>

/** One statement with its parameters. */
export type PgliteQuery = (
  text: string,
  parameters?: readonly unknown[],
  options?: PgliteQueryOptions,
) => Promise<PgliteResult>

/** Inside `transaction()`. */
export interface PgliteTransaction {
  readonly query: PgliteQuery
  exec(text: string): Promise<PgliteResult[]>
}

/** One embedded database: one connection. */
export interface Pglite extends PgliteTransaction {
  transaction<T>(work: (transaction: PgliteTransaction) => Promise<T>): Promise<T>
  close(): Promise<void>
}
