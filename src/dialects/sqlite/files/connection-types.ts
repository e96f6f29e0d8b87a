/** What this folder needs of a client library: the parts of `@libsql/client` that it uses, which others are dressed as. */

/** One statement with its parameters, which are handed on as they come. */
export interface SqliteStatement {
  readonly sql: string
  readonly args?: unknown
}

/** A result. Holds nothing of the connection. */
export interface SqliteResult {
  readonly rows: readonly object[]
  readonly rowsAffected: number
}

/** How a transaction begins. */
export type TransactionMode = 'write' | 'read' | 'deferred'

/** A transaction; it holds the connection until it ends. */
export interface SqliteTransaction {
  execute(statement: SqliteStatement): Promise<SqliteResult>
  executeMultiple(sql: string): Promise<void>
  commit(): Promise<void>
  close(): void
  readonly closed: boolean
}

/** One connection to one file. */
export interface SqliteConnection {
  execute(statement: SqliteStatement | string): Promise<SqliteResult>
  batch(statements: readonly SqliteStatement[], mode: TransactionMode): Promise<SqliteResult[]>
  transaction(mode: TransactionMode): Promise<SqliteTransaction>
  close(): void
}

/** Opens a connection to the file at `path`. */
export type OpenConnection = (path: string) => SqliteConnection
