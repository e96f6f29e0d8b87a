/** The parts of `@libsql/client` that this folder uses, described structurally. Tested with 0.18. */

/** One statement with its parameters, which are handed on as they come. */
export interface LibsqlStatement {
  readonly sql: string
  readonly args?: unknown
}

/** A result; Drizzle maps `rows`. Holds nothing of the client. */
export interface LibsqlResult {
  readonly rows: readonly object[]
  readonly rowsAffected: number
}

/** How a transaction begins. */
export type LibsqlMode = 'write' | 'read' | 'deferred'

/** A transaction; it holds the connection until it ends. */
export interface LibsqlTransaction {
  execute(statement: LibsqlStatement): Promise<LibsqlResult>
  executeMultiple(sql: string): Promise<void>
  commit(): Promise<void>
  close(): void
  readonly closed: boolean
}

/** A client over one file. */
export interface LibsqlClient {
  execute(statement: LibsqlStatement | string): Promise<LibsqlResult>
  batch(statements: readonly LibsqlStatement[], mode: LibsqlMode): Promise<LibsqlResult[]>
  transaction(mode: LibsqlMode): Promise<LibsqlTransaction>
  close(): void
}

/** `createClient` with the options that are used here. */
export type CreateLibsqlClient = (options: { readonly url: string; readonly concurrency: number }) => LibsqlClient
