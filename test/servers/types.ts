/** What every suite gets from the global setup. Plain data: it travels to the workers. A waived server is absent. */
export interface Servers {
  readonly postgres15?: PostgresAddress
  readonly postgres18?: PostgresAddress
  /** Transaction pooling in front of PostgreSQL 15. */
  readonly pgbouncer15?: PgBouncerAddress
  /** Transaction pooling in front of PostgreSQL 18. */
  readonly pgbouncer18?: PgBouncerAddress
  readonly mariadb?: ServerAddress
  readonly redis?: ServerAddress
  /** A package, which is compiled where it is installed. */
  readonly 'better-sqlite3'?: BetterSqlite3
  /** The names of `TENANCY_TEST_WAIVE`. */
  readonly waived: readonly string[]
}

export interface ServerAddress {
  /** As the server's superuser. */
  readonly url: string
  readonly port: number
}

export interface BetterSqlite3 {
  readonly version: string
}

export interface PostgresAddress extends ServerAddress {
  readonly version: 15 | 18
}

export interface PgBouncerAddress extends ServerAddress {
  /** The version of the PostgreSQL behind it. */
  readonly version: 15 | 18
  /** Server connections for each pair of role and database. */
  readonly poolSize: number
}

declare module 'vitest' {
  export interface ProvidedContext {
    servers: Servers
  }
}
