import type { Readable } from 'node:stream'
import { enterContext } from '../../../context.ts'
import { tenancyError } from '../../../errors.ts'
import { breaksConnection, statementFailure } from '../failure.ts'
import { type MysqlConnection, type MysqlOk, type MysqlStatement, STATUS } from './mysql-types.ts'
import { wireStatement } from './mysql-wire.ts'

/** What came back. */
export interface Answer {
  readonly rows: unknown
  readonly fields: unknown
}

/** A connection while somebody has it. Knows whether it may be handed on. */
export class Lease {
  readonly #connection: MysqlConnection
  readonly #giveBack: (broken: boolean) => void
  #pending = 0
  #tainted = false
  #inTransaction = false
  #lost: Error | undefined
  #released = false
  #onLost: (() => void) | undefined

  constructor(connection: MysqlConnection, giveBack: (broken: boolean) => void) {
    this.#connection = connection
    this.#giveBack = giveBack
  }

  /** Why the connection is gone, if it is. */
  get lost(): Error | undefined {
    return this.#lost
  }

  /** By what the server said last; it says nothing with rows and with errors. */
  get inTransaction(): boolean {
    return this.#inTransaction
  }

  /** The connection will not be handed on. */
  taint(): void {
    this.#tainted = true
  }

  /** Calls `listener` when the connection dies while it is lent, once. */
  watch(listener: () => void): void {
    this.#onLost = listener
    this.#connection.on('error', this.#lose)
  }

  /** Sends a statement. */
  send(statement: MysqlStatement): Promise<Answer> {
    return new Promise((resolve, reject) => {
      let unread = false
      // What is refused here was not sent, and changes nothing.
      const wire = wireStatement(statement, this.#connection, () => (unread = true))
      this.#pending++
      const settle = (error: Error | null, rows?: unknown, fields?: unknown) => {
        this.#pending--
        if (error) reject(this.#failure(error, statement.sql, unread))
        else {
          this.#note(okOf(rows, fields))
          resolve({ rows, fields })
        }
      }
      try {
        this.#connection.query(wire, settle)
      } catch (error) {
        settle(error as Error)
      }
    })
  }

  /** Sends a statement whose rows come as a stream. `end` says when the connection is free for the next. */
  stream(statement: MysqlStatement, end: (failure: unknown) => void): Readable {
    let ended = false
    let unread = false
    const wire = wireStatement(statement, this.#connection, () => (unread = true))
    this.#pending++
    const settle = (error?: Error) => {
      if (ended) return
      ended = true
      this.#pending--
      this.#connection.removeListener('error', settle)
      end(error === undefined ? undefined : this.#failure(error, statement.sql, unread))
    }
    const source = this.#connection.query(wire).stream()
    source.once('error', settle)
    source.once('end', () => settle())
    // mysql2 tells a lost connection to the statement that has a callback, and a stream has none.
    this.#connection.on('error', settle)
    return source
  }

  /** Gives the connection back; with anything unfinished or changed it is cut, and what runs on it fails. Idempotent. */
  release(): void {
    if (this.#released) return
    this.#released = true
    if (this.#onLost !== undefined) this.#connection.removeListener('error', this.#lose)
    this.#giveBack(this.#tainted || this.#inTransaction || this.#pending > 0 || this.#lost !== undefined)
  }

  readonly #lose = (error: Error): void => {
    if (this.#lost !== undefined) return
    this.#lost = error
    this.#onLost?.()
  }

  /** `unread`: rows of this statement are still on their way. */
  #failure(error: Error, text: string, unread: boolean): unknown {
    // At once: whatever follows on this connection could get an answer that is not its own.
    if (unread || breaksConnection(error)) {
      this.#lose(unread ? tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], error) : error)
      cut(this.#connection)
    }
    return statementFailure(error, text)
  }

  #note(ok: MysqlOk | undefined): void {
    if (ok === undefined) return
    this.#inTransaction = (ok.serverStatus & STATUS.IN_TRANSACTION) !== 0
    if ((ok.serverStatus & STATUS.SESSION_CHANGED) !== 0) this.#tainted = true
  }
}

/** The answer without rows; of a procedure it is the last of several, and has no fields. */
function okOf(rows: unknown, fields: unknown): MysqlOk | undefined {
  if (!Array.isArray(rows)) return rows as MysqlOk | undefined
  const several = Array.isArray(fields) && fields.length > 0 && fields.at(-1) === undefined
  return several ? (rows.at(-1) as MysqlOk) : undefined
}

/** Ends a connection with all that runs on it: mysql2's own `destroy()` would leave that waiting for ever. */
export function cut(connection: MysqlConnection): void {
  // The pool opens the next one from here, which must not keep the context of whoever this was.
  enterContext(undefined, () => connection.stream.destroy(tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')))
}
