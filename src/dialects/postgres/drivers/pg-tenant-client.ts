import { EventEmitter } from 'node:events'
import { currentContext } from '../../../context.ts'
import type { Guard } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { breaksConnection, statementFailure } from '../failure.ts'
import { type StatementKind, statementKind } from '../statement-kind.ts'
import type { Lead, ScopedQueries, WireScope } from './pg-scoped-query.ts'
import { changesSession } from './pg-session-commands.ts'
import { assertSubmittable, bindSubmittable, guardReads, scopeSubmittable } from './pg-submittable.ts'
import type { PgClient, PgQueryConfig, PgResult, PgSubmittable } from './pg-types.ts'

/** What confines the clients of one tenant. */
export interface TenantSession {
  readonly queries: ScopedQueries
  readonly scope: WireScope
  readonly guard: Guard
  /** Writes the tenant's names into a statement that Drizzle built from adopted tables. */
  readonly scopeText: (text: string) => string
  /** Whether a pooler may hand the server's session to somebody else after each transaction. */
  readonly pooled: boolean
  /** Whether its tables are those of other tenants too, told apart by their rows. */
  readonly sharesTables: boolean
  /** Told the text of every statement before it is sent. */
  readonly onStatement: ((text: string) => void) | undefined
}

type Callback = (error: unknown, result?: PgResult) => void

/**
 * `idle`: each statement carries its scope. `open`: inside a transaction that was scoped at BEGIN. `finished`: the
 * transaction ended; only a new BEGIN is taken. `released`: nothing is.
 */
type State = 'idle' | 'open' | 'finished' | 'released'

/** The answer to the ROLLBACK that Drizzle sends after a transaction that is over already. */
const NOTHING_TO_ROLL_BACK: PgResult = Object.freeze({ command: 'ROLLBACK', rows: [], rowCount: null })

/**
 * A checked-out connection as Drizzle and pg users know it (`query`, `release`, `on`), confined to one tenant. The real
 * client is out of reach. Statements run one after the other; one that comes after the end of its transaction is refused
 * instead of running on its own.
 */
export class TenantClient extends EventEmitter {
  readonly #client: PgClient
  readonly #session: TenantSession
  #state: State = 'idle'
  #tail: Promise<unknown> = Promise.resolve()
  #pending = 0
  #tainted: Error | boolean = false
  #lost: Error | undefined
  #ranProcedure = false
  readonly #onError: (error: Error) => void

  constructor(client: PgClient, session: TenantSession) {
    super()
    this.#client = client
    this.#session = session
    // Without a listener a backend that dies between two statements would end the process.
    this.#onError = (error) => {
      this.#lost = error
      // At once: whoever holds a cursor of a dead connection may wait for it for ever, and the place in the pool with it.
      this.release(error)
      if (this.listenerCount('error') > 0) this.emit('error', error)
    }
    client.on('error', this.#onError)
  }

  /** pg's `client.query`: a text, a config, a cursor or a stream. */
  query(
    config: string | PgQueryConfig | PgSubmittable,
    values?: readonly unknown[] | Callback,
    callback?: Callback,
  ): unknown {
    if (typeof config === 'object' && 'submit' in config) return this.#submit(config)
    const done = typeof values === 'function' ? values : callback
    const result = this.#enqueue(
      queryConfig(config, typeof values === 'function' ? undefined : values, this.#session.scopeText),
    )
    // Of another driver's Drizzle it may be anything, and would be called where nobody catches.
    if (typeof done !== 'function') return result
    result.then((value) => done(null, value), done)
    return undefined
  }

  /** Gives the connection back; anything unfinished or changed in the session destroys it. Idempotent. */
  release = (error?: Error | boolean): void => {
    if (this.#state === 'released') return
    const dirty = this.#pending > 0 || this.#client.getTransactionStatus() !== 'I'
    this.#state = 'released'
    this.#client.removeListener('error', this.#onError)
    this.#client.release(error || this.#tainted || dirty)
  }

  /** What was released stays so, whatever else was under way. */
  #become(state: State): void {
    if (this.#state !== 'released') this.#state = state
  }

  #enqueue(config: PgQueryConfig): Promise<PgResult> {
    this.#pending++
    const run = this.#tail.then(() => this.#execute(config))
    const settled = run.finally(() => this.#pending--)
    this.#tail = settled.catch(() => {})
    return settled
  }

  async #execute(config: PgQueryConfig): Promise<PgResult> {
    if (this.#lost !== undefined && statementKind(config.text).kind === 'rollback') return NOTHING_TO_ROLL_BACK
    if (this.#lost !== undefined) throw statementFailure(this.#lost)
    if (this.#state === 'released') throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    this.#session.onStatement?.(config.text)
    const statement = statementKind(config.text)
    if (statement.kind === 'begin') return this.#begin(statement.options)
    if (statement.kind === 'rollback' && this.#state === 'finished') return NOTHING_TO_ROLL_BACK
    if (statement.kind !== 'rollback') this.#session.guard()
    refuse(statement, this.#session)
    if ('changes' in statement) this.#tainted ||= true
    if (this.#state === 'finished') throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    if (this.#state === 'open') return this.#inTransaction(config, statement)
    if (statement.kind === 'procedure') return this.#ownTransaction(config, statement)
    return this.#send(config, this.#session.scope.alone)
  }

  async #begin(options: string): Promise<PgResult> {
    if (this.#state === 'open')
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['BEGIN inside a transaction; nest `transaction()` instead'])
    try {
      this.#session.guard()
      const results = await this.#client.query(`begin ${options};${this.#session.scope.setLocal}`)
      const [begin] = Array.isArray(results) ? results : [results]
      if (begin === undefined || this.#client.getTransactionStatus() !== 'T') {
        throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['BEGIN opened no transaction'])
      }
      this.#become('open')
      return begin
    } catch (error) {
      // drizzle-orm 0.45 does not release a client whose BEGIN failed.
      this.release(error instanceof Error ? error : true)
      throw statementFailure(error)
    }
  }

  async #inTransaction(config: PgQueryConfig, { kind }: StatementKind): Promise<PgResult> {
    const { inside } = this.#session.scope
    try {
      // A block can open a cursor WITH HOLD, which would outlive the transaction on this connection.
      const holds = kind === 'commit' && this.#ranProcedure && this.#client.getTransactionStatus() === 'T'
      if (holds) await this.#send({ text: 'close all' }, inside)
      this.#ranProcedure ||= kind === 'procedure'
      const result = await this.#send(config, inside)
      if (kind === 'commit' && result.command !== 'COMMIT') throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
      return result
    } catch (error) {
      if (kind !== 'rollback') throw error
      // Only a lost connection refuses a ROLLBACK, and the server rolls back for it. Whoever rolls back has an error of
      // their own to tell, which this one would hide.
      this.#tainted ||= true
      this.#become('finished')
      return NOTHING_TO_ROLL_BACK
    } finally {
      if (this.#client.getTransactionStatus() === 'I' && this.#state === 'open') this.#become('finished')
    }
  }

  /** CALL and DO: in an explicit transaction PostgreSQL refuses their COMMIT, so they cannot outlive the scope. */
  async #ownTransaction(config: PgQueryConfig, statement: StatementKind): Promise<PgResult> {
    await this.#begin('')
    try {
      const result = await this.#inTransaction(config, statement)
      await this.#inTransaction({ text: 'commit' }, { kind: 'commit' })
      this.#become('idle')
      return result
    } catch (error) {
      await this.#inTransaction({ text: 'rollback' }, { kind: 'rollback' })
      this.#become('idle')
      throw error
    }
  }

  async #send(config: PgQueryConfig, lead: Lead): Promise<PgResult> {
    try {
      const result = await new Promise<PgResult>((resolve, reject) => {
        const query = this.#session.queries.query(config, this.#client, lead)
        query.callback = (error, value) => (error ? reject(error) : resolve(value as PgResult))
        this.#client.query(query)
      })
      if (changesSession(result.command)) this.#tainted ||= true
      return result
    } catch (error) {
      if (breaksConnection(error)) this.#tainted ||= error instanceof Error ? error : true
      throw statementFailure(error)
    }
  }

  /** A cursor or stream: handed over at once when nothing else runs, as pg does, and counted until it is ready. */
  #submit<T extends PgSubmittable>(submittable: T): T {
    this.#session.guard()
    if (this.#lost !== undefined) throw statementFailure(this.#lost)
    if (this.#state === 'released' || this.#state === 'finished') throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    assertSubmittable(submittable, this.#session.scopeText)
    guardReads(submittable, this.#session.guard)
    const { alone, inside } = this.#session.scope
    const lead = this.#state === 'open' ? inside : alone
    const context = currentContext()
    this.#pending++
    const ended = new Promise<void>((resolve) => bindSubmittable(submittable, context, resolve)).then(
      () => void this.#pending--,
    )
    const handOver = () => {
      scopeSubmittable(submittable, this.#client, lead)
      this.#client.query(submittable)
    }
    if (this.#pending === 1) handOver()
    else this.#tail.then(handOver, handOver)
    this.#tail = ended
    return submittable
  }
}

type SessionLimits = Pick<TenantSession, 'pooled' | 'sharesTables'>

/**
 * Refuses what no tenant may send, and behind a pooler what it would leave in a session that is not ours to destroy.
 * @throws TENANCY_ERR_STATEMENT_REFUSED
 */
export function refuse(statement: StatementKind, { pooled, sharesTables }: SessionLimits): void {
  if (statement.kind === 'refused') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [statement.what])
  if (statement.kind === 'plain' && statement.locks === true && sharesTables) {
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['LOCK; it would stop all tenants that share the table'])
  }
  if (pooled && 'changes' in statement && statement.changes !== undefined) {
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [
      `what outlives its transaction behind a pooler: ${statement.changes}`,
    ])
  }
}

/** What pg needs of a config; a name is left out, because a plan made under one search_path must not serve another. */
export function queryConfig(
  config: string | PgQueryConfig,
  values: readonly unknown[] | undefined,
  scopeText: TenantSession['scopeText'] = (text) => text,
): PgQueryConfig {
  if (typeof config === 'string') return { text: scopeText(config), values }
  const { text, rowMode, types, binary } = config
  if (typeof text !== 'string') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a query without text'])
  return { text: scopeText(text), values: values ?? config.values, rowMode, types, binary }
}
