/** The parts of mssql and tedious that this folder uses, described structurally: no emitted declaration depends on them. */

/** A connection of tedious, as mssql's pool hands it out. */
export interface TdsConnection {
  /** By what the server said last. */
  readonly inTransaction: boolean
  readonly closed: boolean
  readonly databaseCollation?: unknown
  beginTransaction(done: (error?: Error | null) => void, name: string, isolationLevel: number): void
  commitTransaction(done: (error?: Error | null) => void): void
  rollbackTransaction(done: (error?: Error | null) => void): void
  /** Ends it with all that runs on it. */
  close(): void
  on(event: 'end' | 'databaseChange', listener: () => void): unknown
  removeListener(event: 'end' | 'databaseChange', listener: () => void): unknown
}

/** One result set, or arrays in its place, and the rows that each statement touched. */
export interface MssqlResult {
  readonly recordset: readonly unknown[] | undefined
  readonly recordsets: readonly unknown[]
  readonly rowsAffected: readonly number[]
  readonly output: Readonly<Record<string, unknown>>
}

/** mssql's `Request`. */
export interface MssqlRequest {
  arrayRowMode: boolean
  stream: boolean
  input(name: string, value: unknown): unknown
  input(name: string, type: unknown, value: unknown): unknown
  query(text: string): Promise<MssqlResult>
  /** Outside of sp_executesql, which takes changes of the session back at its end. */
  batch(text: string): Promise<MssqlResult>
  cancel(): void
  pause(): void
  resume(): void
  on(event: 'row', listener: (row: unknown) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** What a request takes its connection from. */
export interface MssqlParent {
  readonly config: object
  readonly connected: true
  readonly collation: unknown
  acquire(requester: unknown, done: (error: Error | null, connection: TdsConnection, config: object) => void): unknown
  release(connection: TdsConnection): unknown
}

/** mssql's `ConnectionPool`. */
export interface MssqlPool {
  readonly config: object
  readonly size: number
  readonly available: number
  readonly pending: number
  connect(): Promise<unknown>
  acquire(requester: unknown): Promise<TdsConnection>
  release(connection: TdsConnection): unknown
  close(): Promise<unknown>
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** Where a server is and who asks. */
export interface MssqlAddress {
  readonly server: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  readonly encrypt: boolean
  readonly trustServerCertificate: boolean
}

/** Options of the pools that we open. */
export interface MssqlPoolConfig extends Omit<MssqlAddress, 'encrypt' | 'trustServerCertificate'> {
  readonly connectionTimeout: number
  readonly requestTimeout: 0
  readonly validateConnection?: false
  readonly options: {
    readonly encrypt: boolean
    readonly trustServerCertificate: boolean
    readonly appName: string
    readonly useUTC: true
    readonly enableQuotedIdentifier: true
    readonly abortTransactionOnError: boolean
  }
  readonly pool: {
    readonly min: number
    readonly max: number
    readonly acquireTimeoutMillis: number
    readonly createTimeoutMillis: number
    readonly idleTimeoutMillis: number
  }
}

/** The module `mssql`. */
export interface MssqlModule {
  readonly ConnectionPool: new (config: MssqlPoolConfig) => MssqlPool
  readonly Request: new (parent: MssqlParent) => MssqlRequest
  NVarChar(length: number): unknown
}

/** Isolation levels by the numbers of the protocol. */
export const READ_COMMITTED = 2
