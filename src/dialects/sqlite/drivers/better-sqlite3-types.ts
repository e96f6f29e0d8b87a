/** The parts of `better-sqlite3` that this folder uses, described structurally. Tested with 12. */

/** What a statement that gives no rows did. */
export interface RunResult {
  readonly changes: number
  readonly lastInsertRowid: number | bigint
}

/** A compiled statement. */
export interface BetterStatement {
  /** Whether it gives rows. */
  readonly reader: boolean
  run(...parameters: readonly unknown[]): RunResult
  get(...parameters: readonly unknown[]): unknown
  all(...parameters: readonly unknown[]): unknown[]
  raw(on: boolean): unknown
}

/** One connection. Every call is done when it returns. */
export interface BetterDatabase {
  prepare(text: string): BetterStatement
  exec(text: string): unknown
  readonly inTransaction: boolean
  close(): unknown
}

/** What the module is. */
export type BetterDatabaseClass = new (
  path: string,
  options: { readonly fileMustExist: boolean; readonly timeout: number },
) => BetterDatabase
