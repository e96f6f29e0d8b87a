import type { Readable } from 'node:stream'

/** The parts of mysql2 that this folder uses, described structurally: no emitted declaration depends on it. */

/** One statement as mysql2 takes it. */
export interface MysqlStatement {
  readonly sql: string
  readonly values: readonly unknown[]
  readonly rowsAsArray?: boolean
  readonly typeCast?: unknown
}

/** The same with its parameters in the text. */
export interface MysqlWireStatement extends Omit<MysqlStatement, 'values'> {
  /** Without values mysql2 does not look for placeholders. */
  readonly values: null
}

type Callback = (error: Error | null, rows?: unknown, fields?: unknown) => void

/** A pooled connection, in mysql2's own style. */
export interface MysqlConnection {
  query(statement: MysqlWireStatement, callback: Callback): unknown
  query(statement: MysqlWireStatement): { stream(): Readable }
  /** Writes a value as a constant, right under the `sql_mode` of our connections. */
  escape(value: unknown): string
  on(event: 'error' | 'end', listener: (error: Error) => void): unknown
  removeListener(event: 'error' | 'end', listener: (error: Error) => void): unknown
  /** Gives it back to the pool. */
  release(): void
  readonly stream: { destroy(error: Error): unknown }
}

/** mysql2's `Pool`. */
export interface MysqlPool {
  getConnection(callback: (error: Error | null, connection?: MysqlConnection) => void): void
  end(callback: (error?: Error | null) => void): void
}

/** Where a server is and who asks. */
export interface MysqlAddress {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly socketPath?: string
  readonly ssl?: unknown
}

/** Options of the pools that we open. */
export interface MysqlPoolOptions extends MysqlAddress {
  readonly connectionLimit: number
  readonly maxIdle: number
  readonly connectTimeout: number
  readonly keepAliveInitialDelay: number
  readonly charset: string
  readonly timezone: string
  readonly supportBigNumbers: boolean
  readonly multipleStatements: false
  readonly flags: readonly string[]
}

/** The module `mysql2`. */
export interface MysqlModule {
  createPool(options: MysqlPoolOptions): MysqlPool
}

/** What is in `serverStatus` of an answer. https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html */
export const STATUS = {
  IN_TRANSACTION: 0x0001,
  SESSION_CHANGED: 0x4000,
} as const

/** An answer without rows. */
export interface MysqlOk {
  readonly affectedRows: number
  readonly insertId: number
  readonly serverStatus: number
}
