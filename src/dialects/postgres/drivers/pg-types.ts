/**
 * The parts of node-postgres that this folder uses, described structurally: no emitted declaration depends on `pg`. Needs
 * pg 8.22 or newer: before, a value that could not be sent left those before it in a buffer for whoever sends next (pg-protocol 1.14).
 */

/** A result; `rows` is what Drizzle maps. */
export interface PgResult {
  readonly command: string
  readonly rows: unknown[]
  readonly rowCount: number | null
}

/** What `query()` accepts besides a text. */
export interface PgQueryConfig {
  readonly text: string
  readonly values?: readonly unknown[] | undefined
  readonly rowMode?: 'array' | undefined
  readonly types?: unknown
  readonly binary?: boolean | undefined
}

/** What takes messages. */
export interface PgOutlet {
  _send(bytes: Uint8Array): void
}

/** How pg writes the messages of a statement. */
export interface PgMessages {
  parse(this: PgOutlet, query: { text: string; name: string }): void
  bind(
    this: PgOutlet,
    config: { statement?: string; values: readonly string[]; valueMapper?: (value: unknown) => unknown },
  ): void
  execute(this: PgOutlet, config: object): void
}

/** The wire: buffers of one flush are corked by pg itself. */
export interface PgConnection extends PgOutlet {
  readonly stream: { cork?(): void; uncork?(): void }
}

/** pg's `Query`: a Submittable whose handlers the client calls as messages arrive. */
export interface PgQuery {
  values?: readonly unknown[] | undefined
  types?: unknown
  binary?: boolean | undefined
  _rowMode?: unknown
  _result: object
  _results: object
  callback?: (error: Error | null, result?: PgResult) => void
  submit(connection: PgConnection): Error | null
  prepare(outlet: PgOutlet): void
  requiresPreparation(): boolean
  handleDataRow(message: unknown): void
  handleRowDescription(message: unknown): void
  handleCommandComplete(message: unknown, connection: PgConnection): void
  handleError(error: Error, connection: PgConnection): void
  handleReadyForQuery(connection: PgConnection): void
}

/** Something that speaks the protocol itself: pg-cursor, pg-query-stream. */
export interface PgSubmittable {
  submit(connection: PgConnection): unknown
  /** Of a cursor; a stream has it in its cursor. */
  readonly text?: unknown
  readonly cursor?: { readonly text?: unknown; read?: unknown }
  read?: unknown
  requiresPreparation?: unknown
  handleDataRow(message: unknown): void
  handleCommandComplete(message: unknown, connection: PgConnection): void
  handleReadyForQuery(connection: PgConnection): void
  handleError(error: Error, connection: PgConnection): void
}

/** I: idle, T: in a transaction, E: in a failed one. */
export type PgTransactionStatus = 'I' | 'T' | 'E' | null

/** A pooled client. */
export interface PgClient {
  /** What it was opened to. */
  readonly database?: string
  /** Whether a setting that the server reports is not as the connection began. Such a connection is not handed on. */
  readonly altered?: boolean
  query(query: PgQuery | PgSubmittable): unknown
  query(text: string): Promise<PgResult | PgResult[]>
  query(text: string, values: readonly unknown[]): Promise<PgResult>
  query(config: { readonly text: string; readonly query_timeout?: number }): Promise<PgResult>
  getTransactionStatus(): PgTransactionStatus
  on(event: string, listener: (error: Error) => void): unknown
  removeListener(event: string, listener: (error: Error) => void): unknown
  release(error?: Error | boolean): void
  /** Closes the connection, also while a statement runs on it. */
  end(): Promise<void>
}

/** pg's `Client`, as it comes without a pool: who lends it gives it its `release`. */
export interface PgSingleClient extends PgClient {
  connect(): Promise<void>
  readonly connection: {
    readonly stream: { destroy(): void }
    on(event: 'parameterStatus', listener: (message: PgReport) => void): unknown
    once(event: 'readyForQuery', listener: () => void): unknown
  }
}

/** What the server says of a setting. */
export interface PgReport {
  readonly parameterName: string
  readonly parameterValue: string
}

/** A single client that hears notifications. */
export interface PgListener extends PgSingleClient {
  on(event: 'notification', listener: (message: { readonly payload?: string }) => void): unknown
  on(event: 'error' | 'end', listener: (error: Error) => void): unknown
}

/** pg's `Pool`. */
export interface PgPool {
  connect(callback: (error: Error | undefined, client?: PgClient) => void): void
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'connect' | 'remove', listener: (client: PgClient) => void): unknown
  end(): Promise<void>
  readonly totalCount: number
  readonly idleCount: number
  readonly waitingCount: number
}

/** Options of the pools that we open. */
export interface PgPoolOptions {
  /** What the pool makes its connections of. */
  readonly Client: new (
    options: object,
  ) => object
  readonly connectionString: string
  readonly min?: number
  readonly max: number
  readonly maxLifetimeSeconds: number
  readonly application_name?: string
  /** Longest wait for a connection, in milliseconds; 0 or nothing: for ever. */
  readonly connectionTimeoutMillis?: number
}

/** The module `pg`. */
export interface PgModule {
  readonly Pool: { new (options: PgPoolOptions): PgPool; readonly prototype: object }
  readonly Client: new (options: object) => PgSingleClient
  readonly Query: new (text: string) => PgQuery
  readonly Result: new (rowMode: unknown, types: unknown) => object
  readonly Connection: { readonly prototype: PgMessages }
}
