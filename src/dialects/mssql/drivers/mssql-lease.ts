import { enterContext } from '../../../context.ts'
import { tenancyError } from '../../../errors.ts'
import { breaksConnection, statementFailure } from '../failure.ts'
import { mssqlProfile } from '../profile.ts'
import type { MssqlStatement } from './mssql-statement.ts'
import type { MssqlModule, MssqlParent, MssqlRequest, MssqlResult, TdsConnection } from './mssql-types.ts'

/** A connection while somebody has it. Knows whether it may be handed on. */
export class Lease {
  readonly #mssql: MssqlModule
  readonly #connection: TdsConnection
  readonly #parent: MssqlParent
  readonly #giveBack: (broken: boolean) => void
  #pending = 0
  #tainted = false
  #released = false
  #onLost: (() => void) | undefined

  constructor(mssql: MssqlModule, connection: TdsConnection, config: object, giveBack: (broken: boolean) => void) {
    this.#mssql = mssql
    this.#connection = connection
    this.#giveBack = giveBack
    this.#parent = Object.freeze({
      config,
      connected: true,
      collation: connection.databaseCollation,
      acquire: (_: unknown, done: Parameters<MssqlParent['acquire']>[1]) => done(null, connection, config),
      release() {},
    })
    connection.on('databaseChange', this.#taint)
  }

  /** Whether the connection is gone. */
  get lost(): boolean {
    return this.#connection.closed
  }

  /** By what the server said last: also when it ended the transaction itself. */
  get inTransaction(): boolean {
    return this.#connection.inTransaction
  }

  /** The connection will not be handed on. */
  taint(): void {
    this.#tainted = true
  }

  /** Calls `listener` when the connection ends while it is lent, once. */
  watch(listener: () => void): void {
    this.#onLost = listener
    this.#connection.on('end', listener)
  }

  /** Sends a statement. */
  send(statement: MssqlStatement): Promise<MssqlResult> {
    const request = this.request(statement)
    return this.#run(() => request.query(statement.text))
  }

  /** Changes the database of the session, which is ended when it is given back. */
  async use(database: string): Promise<void> {
    const request = this.request({ text: '', parameters: [] })
    await this.#run(() => request.batch(`use ${mssqlProfile.quoteName(database)}`))
  }

  async #run<T>(send: () => Promise<T>): Promise<T> {
    this.#pending++
    try {
      return await enterContext(undefined, send)
    } catch (error) {
      throw this.failure(error)
    } finally {
      this.#pending--
    }
  }

  /** Sends a request whose rows go to `listener` one by one. Settles when the connection is free for the next. */
  async stream(request: MssqlRequest, text: string, listener: (row: unknown) => void): Promise<void> {
    let failure: unknown
    request.stream = true
    request.on('row', listener)
    request.on('error', (error) => {
      failure ??= error
    })
    await this.#run(() => request.query(text))
    if (failure !== undefined) throw this.failure(failure)
  }

  /** mssql's request on this connection. */
  request({ parameters, arrays }: MssqlStatement): MssqlRequest {
    const request = new this.#mssql.Request(this.#parent)
    request.arrayRowMode = arrays === true
    for (const { name, value, type } of parameters) {
      if (type === undefined) request.input(name, value)
      else request.input(name, type, value)
    }
    return request
  }

  begin(isolationLevel: number): Promise<void> {
    return this.#control((done) => this.#connection.beginTransaction(done, '', isolationLevel))
  }

  commit(): Promise<void> {
    return this.#control((done) => this.#connection.commitTransaction(done))
  }

  rollback(): Promise<void> {
    return this.#control((done) => this.#connection.rollbackTransaction(done))
  }

  /** Gives the connection back; with anything unfinished or changed it is ended, and what runs on it fails. Idempotent. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.#connection.removeListener('databaseChange', this.#taint)
    if (this.#onLost !== undefined) this.#connection.removeListener('end', this.#onLost)
    this.#giveBack(this.#tainted || this.inTransaction || this.#pending > 0 || this.lost)
  }

  /** The error as the caller gets it. */
  failure(error: unknown): unknown {
    // At once: whatever follows on this connection could get an answer that is not its own.
    if (breaksConnection(error)) {
      this.taint()
      cut(this.#connection)
    }
    return statementFailure(error)
  }

  readonly #taint = (): void => this.taint()

  async #control(order: (done: (error?: Error | null) => void) => void): Promise<void> {
    if (this.lost) throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
    this.#pending++
    try {
      await new Promise<void>((resolve, reject) => {
        enterContext(undefined, () => order((error) => (error ? reject(error) : resolve())))
      })
    } catch (error) {
      throw this.failure(error)
    } finally {
      this.#pending--
    }
  }
}

/** Ends a connection with all that runs on it. */
export function cut(connection: TdsConnection): void {
  // The pool opens the next one from here, which must not keep the context of whoever this was.
  enterContext(undefined, () => connection.close())
}
