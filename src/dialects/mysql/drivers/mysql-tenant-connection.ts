import type { Readable } from 'node:stream'
import type { Guard } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { statementFailure } from '../failure.ts'
import { type StatementKind, statementKind } from '../statement-kind.ts'
import type { Answer, Lease } from './mysql-lease.ts'
import { RowStream, type StreamOptions } from './mysql-row-stream.ts'
import { type MysqlQueryConfig, statementOf } from './mysql-statement.ts'
import type { MysqlStatement } from './mysql-types.ts'

/** What confines the clients of one tenant. */
export interface TenantSession {
  readonly guard: Guard
  /** Writes the tenant's names into a statement that Drizzle built from adopted tables. */
  readonly scopeText: (text: string) => string
  /** Told the text of every statement before it is sent. */
  readonly onStatement: ((text: string) => void) | undefined
}

/** Rows, or what a statement without rows did, and the fields: as mysql2's promises give it. */
export type Result = readonly [rows: unknown, fields: unknown]

/** `finished`: the transaction ended; only a new BEGIN is taken. `released`: nothing is. */
type State = 'idle' | 'open' | 'finished' | 'released'

/** The answer to the ROLLBACK that Drizzle sends after a transaction that is over already. */
const NOTHING_TO_ROLL_BACK: Result = Object.freeze([Object.freeze({ affectedRows: 0, insertId: 0 }), undefined])

/** The parts of mysql2's own connection that Drizzle's iterators reach for. */
export interface StreamingConnection {
  query(config: string | MysqlQueryConfig, values?: readonly unknown[]): { stream(options?: StreamOptions): Readable }
  on(): void
  off(): void
  end(): void
}

/**
 * A connection as Drizzle and mysql2's users know it (`query`, `execute`, `release`), confined to one tenant. The real one
 * is out of reach. Statements run one after the other; one that comes after the end of its transaction is refused instead
 * of running on its own.
 */
export class TenantConnection {
  readonly #lease: Lease
  readonly #session: TenantSession
  #state: State = 'idle'
  #tail: Promise<unknown> = Promise.resolve()
  #pending = 0
  /** A statement of the transaction failed: some errors, such as a deadlock, end it, and none says so. */
  #doubtful = false
  #rolledBack = false
  /** SET TRANSACTION was sent, and holds for whatever comes next. */
  #isolated = false
  #flowing: RowStream | undefined

  /** For Drizzle's `iterator()`. */
  readonly connection: StreamingConnection = Object.freeze({
    query: (config: string | MysqlQueryConfig, values?: readonly unknown[]) =>
      Object.freeze({
        stream: (options?: StreamOptions) => this.#stream(config, values, options),
      }),
    on() {},
    off() {},
    end: () => this.release(),
  })

  constructor(lease: Lease, session: TenantSession) {
    this.#lease = lease
    this.#session = session
    // At once: whoever waits for rows of a dead connection would keep its place in the pool.
    lease.watch(() => this.release())
    Object.freeze(this)
  }

  async query(config: string | MysqlQueryConfig, values?: readonly unknown[]): Promise<Result> {
    const [kind, statement] = this.#read(config, values)
    return this.#enqueue(() => this.#execute(kind, statement))
  }

  /** The same: with prepared statements each tenant's text would be one of its own, on each connection. */
  execute(config: string | MysqlQueryConfig, values?: readonly unknown[]): Promise<Result> {
    return this.query(config, values)
  }

  /** Gives the connection back; anything unfinished or changed in the session destroys it. Idempotent. */
  readonly release = (): void => {
    if (this.#state === 'released') return
    this.#state = 'released'
    if (this.#isolated) this.#lease.taint()
    this.#lease.release()
  }

  /** What a statement is, and the same with the tenant's names in it. */
  #read(config: string | MysqlQueryConfig, values?: readonly unknown[]): readonly [StatementKind, MysqlStatement] {
    const statement = statementOf(config, values)
    return [statementKind(statement.sql), { ...statement, sql: this.#session.scopeText(statement.sql) }]
  }

  /** What was released stays so, whatever else was under way. */
  #become(state: State): void {
    if (this.#state !== 'released') this.#state = state
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    this.#pending++
    // Rows that nobody takes must not keep this waiting for ever.
    this.#flowing?.flow()
    const settled = this.#tail.then(work).finally(() => this.#pending--)
    this.#tail = settled.catch(() => {})
    return settled
  }

  async #execute(kind: StatementKind, statement: MysqlStatement): Promise<Result> {
    const { lost } = this.#lease
    if (lost !== undefined && kind.kind === 'rollback') return NOTHING_TO_ROLL_BACK
    if (lost !== undefined) throw statementFailure(lost)
    if (this.#state === 'released') throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    if (this.#state === 'finished' && isRollback(kind, this.#rolledBack)) return NOTHING_TO_ROLL_BACK
    if (this.#state !== 'open' && (kind.kind === 'begin' || kind.kind === 'isolation')) {
      return this.#begin(kind, statement)
    }
    if (kind.kind !== 'rollback' && kind.kind !== 'rollback-to') this.#session.guard()
    refuse(kind)
    if (this.#state === 'finished') throw this.#finished(kind)
    if (this.#state === 'open') return this.#inTransaction(kind, statement)
    if (kind.kind !== 'plain' && kind.kind !== 'procedure') {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['transaction control outside of a transaction'])
    }
    return resultOf(await this.#send(kind, statement))
  }

  /** BEGIN, or the SET TRANSACTION before it. drizzle-orm 0.45 does not release a connection whose transaction did not begin. */
  async #begin(kind: StatementKind, statement: MysqlStatement): Promise<Result> {
    try {
      this.#session.guard()
      const answer = await this.#send(kind, statement)
      this.#isolated = kind.kind === 'isolation'
      if (this.#isolated) return resultOf(answer)
      if (!this.#lease.inTransaction) throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
      this.#doubtful = false
      this.#rolledBack = false
      this.#become('open')
      return resultOf(answer)
    } catch (error) {
      this.release()
      throw error
    }
  }

  async #inTransaction(kind: StatementKind, statement: MysqlStatement): Promise<Result> {
    if (kind.kind === 'begin' || kind.kind === 'isolation') {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['BEGIN inside a transaction; nest `transaction()` instead'])
    }
    if (this.#doubtful && kind.kind !== 'rollback' && !(await this.#isStillOpen())) {
      if (kind.kind === 'rollback-to') return NOTHING_TO_ROLL_BACK
      throw this.#finished(kind)
    }
    try {
      return resultOf(await this.#send(kind, statement))
    } catch (error) {
      this.#doubtful = true
      if (kind.kind !== 'rollback') throw error
      // Whoever rolls back has an error of their own to tell, which this one would hide.
      this.#lease.taint()
      this.#become('finished')
      return NOTHING_TO_ROLL_BACK
    } finally {
      // Also after a COMMIT inside of a procedure.
      if (!this.#lease.inTransaction) this.#become('finished')
    }
  }

  /** Asks for the transaction's fate: a statement after its end would be committed on its own. */
  async #isStillOpen(): Promise<boolean> {
    await this.#lease.send({ sql: 'do 0', values: [] })
    this.#doubtful = false
    if (this.#lease.inTransaction) return true
    this.#rolledBack = true
    this.#become('finished')
    return false
  }

  #finished({ kind }: StatementKind) {
    const lostWork = this.#rolledBack && kind === 'commit'
    return tenancyError(lostWork ? 'TENANCY_ERR_TRANSACTION_ROLLED_BACK' : 'TENANCY_ERR_TRANSACTION_FINISHED')
  }

  #send(kind: StatementKind, statement: MysqlStatement): Promise<Answer> {
    this.#session.onStatement?.(statement.sql)
    if (taints(kind)) this.#lease.taint()
    return this.#lease.send(statement)
  }

  /** Rows one by one. Every failure comes through the stream: thrown, drizzle-orm 0.45 would not release the connection. */
  #stream(
    config: string | MysqlQueryConfig,
    values: readonly unknown[] | undefined,
    options?: StreamOptions,
  ): Readable {
    const stream = new RowStream(options)
    stream.follow(this.#enqueue(() => this.#pump(stream, config, values)))
    return stream.rows
  }

  async #pump(
    stream: RowStream,
    config: string | MysqlQueryConfig,
    values: readonly unknown[] | undefined,
  ): Promise<void> {
    const [kind, statement] = this.#read(config, values)
    const { lost } = this.#lease
    if (lost !== undefined) throw statementFailure(lost)
    if (this.#state === 'released') throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    this.#session.guard()
    refuse(kind)
    if (kind.kind !== 'plain') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a stream reads rows'])
    if (this.#state === 'finished' || (this.#doubtful && !(await this.#isStillOpen()))) throw this.#finished(kind)
    this.#session.onStatement?.(statement.sql)
    if (kind.taints) this.#lease.taint()
    this.#flowing = stream
    try {
      await stream.pump(this.#lease, statement, () => this.#pending > 1)
    } catch (error) {
      this.#doubtful = this.#state === 'open'
      throw error
    } finally {
      this.#flowing = undefined
    }
  }
}

/** Refuses what no tenant may send. @throws TENANCY_ERR_STATEMENT_REFUSED */
export function refuse(kind: StatementKind): void {
  if (kind.kind === 'refused') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [kind.what])
}

/** Whether the connection must not be handed on after it. */
export function taints(kind: StatementKind): boolean {
  return kind.kind === 'procedure' || (kind.kind === 'plain' && kind.taints)
}

/** An answer as mysql2's promises give it. */
export function resultOf({ rows, fields }: Answer): Result {
  return [rows, fields]
}

function isRollback({ kind }: StatementKind, rolledBack: boolean): boolean {
  return kind === 'rollback' || (rolledBack && kind === 'rollback-to')
}
