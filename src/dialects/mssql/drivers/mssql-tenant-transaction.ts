import { tenancyError, type TenancyErrorCode } from '../../../errors.ts'
import type { Lease } from './mssql-lease.ts'
import { lend, type Pool } from './mssql-pool.ts'
import { createRequest, type RequestTarget, type TenantRequest } from './mssql-request.ts'
import type { RowStream } from './mssql-row-stream.ts'
import { runStream } from './mssql-run-stream.ts'
import type { MssqlStatement } from './mssql-statement.ts'
import { admit, type TenantSession } from './mssql-tenant-session.ts'
import { READ_COMMITTED } from './mssql-types.ts'

/** `finished`: the transaction ended, by us or by the server. */
type State = 'new' | 'open' | 'finished'

/** What Drizzle and mssql's users know of a transaction. */
export interface TransactionMembers {
  begin(isolationLevel?: number): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
  request(): TenantRequest
}

/**
 * One transaction, confined to one tenant. Its statements run one after the other. One that comes after the end is refused
 * instead of running on its own: also when the server ended the transaction, as it does with a deadlock.
 */
export class TenantTransaction {
  readonly #pool: Pool
  readonly #session: TenantSession
  #state: State = 'new'
  #lease: Lease | undefined
  #tail: Promise<unknown> = Promise.resolve()
  /** Why it takes no more statements. */
  #end: TenancyErrorCode = 'TENANCY_ERR_TRANSACTION_FINISHED'

  /** Where its requests go. */
  readonly target: RequestTarget = Object.freeze({
    query: (statement: MssqlStatement) => this.#enqueue(statement, (lease, sent) => lease.send(sent)),
    stream: async (statement: MssqlStatement, rows: RowStream) => {
      try {
        await this.#enqueue(statement, (lease, sent) => runStream(lease, sent, rows))
        rows.end()
      } catch (error) {
        rows.end(error)
      }
    },
  } satisfies RequestTarget)

  constructor(pool: Pool, session: TenantSession) {
    this.#pool = pool
    this.#session = session
    Object.freeze(this)
  }

  /** Takes a connection and begins. @throws TENANCY_ERR_STATEMENT_REFUSED when it began already */
  async begin(isolationLevel: number = READ_COMMITTED): Promise<void> {
    if (this.#state !== 'new') {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['BEGIN inside a transaction; nest `transaction()` instead'])
    }
    this.#state = 'finished'
    this.#session.guard()
    const lease = await lend(this.#pool)
    try {
      this.#session.guard('send')
      // The level stays with the session, whose next statement may be anybody's.
      if (isolationLevel !== READ_COMMITTED) lease.taint()
      await lease.begin(isolationLevel)
    } catch (error) {
      lease.taint()
      lease.release()
      throw error
    }
    this.#lease = lease
    this.#state = 'open'
    // At once: whoever does not come back to a dead connection would keep its place in the pool.
    lease.watch(() => this.#finish('TENANCY_ERR_DATABASE_UNAVAILABLE'))
  }

  /** The transaction as a driver's. */
  get client(): TransactionMembers {
    return Object.freeze({
      begin: (isolationLevel?: number) => this.begin(isolationLevel),
      commit: () => this.commit(),
      rollback: () => this.rollback(),
      request: () => createRequest(this.target),
    })
  }

  /** @throws TENANCY_ERR_TRANSACTION_ROLLED_BACK when the server has undone it, TENANCY_ERR_TRANSACTION_FINISHED */
  commit(): Promise<void> {
    return this.#inTurn(async () => {
      const lease = this.#opened()
      try {
        this.#session.guard()
        await lease.commit()
      } catch (error) {
        // What became of it is not known.
        lease.taint()
        throw error
      } finally {
        this.#finish('TENANCY_ERR_TRANSACTION_FINISHED')
      }
    })
  }

  /** Whoever rolls back has an error of their own to tell: this one never throws. Idempotent. */
  rollback(): Promise<void> {
    return this.#inTurn(async () => {
      const lease = this.#lease
      if (lease === undefined) return
      await lease.rollback().catch(() => lease.taint())
      this.#finish('TENANCY_ERR_TRANSACTION_FINISHED')
    })
  }

  #enqueue<T>(given: MssqlStatement, send: (lease: Lease, statement: MssqlStatement) => Promise<T>): Promise<T> {
    this.#session.guard()
    const { kind, statement } = admit(this.#session, given)
    return this.#inTurn(async () => {
      const lease = this.#opened()
      if (kind !== 'rollback-to') this.#session.guard('send')
      this.#session.onStatement?.(statement.text)
      try {
        return await send(lease, statement)
      } finally {
        if (lease.lost) this.#finish('TENANCY_ERR_DATABASE_UNAVAILABLE')
        else if (!lease.inTransaction) this.#finish('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
      }
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const settled = this.#tail.then(work)
    this.#tail = settled.catch(() => {})
    return settled
  }

  #opened(): Lease {
    const lease = this.#lease
    if (this.#state === 'open' && lease !== undefined) return lease
    throw tenancyError(this.#end)
  }

  /** The first reason stays. */
  #finish(end: TenancyErrorCode): void {
    if (this.#state === 'open') this.#end = end
    this.#state = 'finished'
    this.#lease?.release()
    this.#lease = undefined
  }
}
