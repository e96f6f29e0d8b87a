import { tenancyError } from '../../../errors.ts'
import type { ScopeSql } from '../scope-sql.ts'
import type { PgClient, PgConnection, PgModule, PgQuery, PgQueryConfig } from './pg-types.ts'

/** A compiled scope with the bytes that pg would send for it. */
export interface WireScope extends ScopeSql {
  /** Parse, Bind and Execute of the scope statement: serialised once per tenant, without Sync. */
  readonly bytes: Uint8Array
}

/** Serialises the scope statement of `scope`. */
export function wireScope({ Connection }: PgModule, scope: ScopeSql): WireScope {
  const chunks: Uint8Array[] = []
  const recorder = { _send: (bytes: Uint8Array) => void chunks.push(Uint8Array.from(bytes)) }
  Connection.prototype.parse.call(recorder, { text: scope.text, name: '' })
  Connection.prototype.bind.call(recorder, { values: scope.values })
  Connection.prototype.execute.call(recorder, {})
  return Object.freeze({ ...scope, bytes: Buffer.concat(chunks) })
}

/** Makes queries that carry their scope in the same flush. */
export interface ScopedQueries {
  /**
   * One statement. With `scope`, the scope statement and this one share one implicit transaction that ends at their Sync:
   * if the scope fails, PostgreSQL skips the statement. Without, the client must be inside a transaction that was scoped
   * at BEGIN. Either way the server's transaction status is checked at the moment of sending.
   */
  query(config: PgQueryConfig, client: PgClient, scope: WireScope | undefined): PgQuery
}

/** Builds {@link ScopedQueries} on the loaded `pg`. */
export function scopedQueries({ Query }: PgModule): ScopedQueries {
  class ScopedQuery extends Query {
    readonly #client: PgClient
    readonly #scope: WireScope | undefined
    /** True until the scope statement has completed: messages up to there are not the user's. */
    #inScope: boolean
    #settled = false

    constructor(config: PgQueryConfig, client: PgClient, scope: WireScope | undefined) {
      super(config)
      this.#client = client
      this.#scope = scope
      this.#inScope = scope !== undefined
    }

    /** Always the extended protocol: one statement per query, and a scope can share its flush. */
    override requiresPreparation(): boolean {
      return true
    }

    override submit(connection: PgConnection): Error | null {
      return misplaced(this.#client, this.#scope) ?? super.submit(connection)
    }

    override prepare(connection: PgConnection): void {
      if (this.#scope !== undefined) connection._send(this.#scope.bytes)
      super.prepare(connection)
    }

    override handleRowDescription(message: unknown): void {
      if (!this.#inScope) super.handleRowDescription(message)
    }

    override handleDataRow(message: unknown): void {
      if (!this.#inScope) super.handleDataRow(message)
    }

    override handleCommandComplete(message: unknown, connection: PgConnection): void {
      if (this.#inScope) this.#inScope = false
      else super.handleCommandComplete(message, connection)
    }

    override handleError(error: Error, connection: PgConnection): void {
      if (this.#settled) return
      this.#settled = true
      super.handleError(error, connection)
    }

    override handleReadyForQuery(connection: PgConnection): void {
      if (this.#settled) return
      super.handleReadyForQuery(connection)
      this.#settled = true
    }
  }

  return { query: (config, client, scope) => new ScopedQuery(config, client, scope) }
}

/** The error when the connection is not in the state that `scope` needs. Nothing is sent then. */
export function misplaced(client: PgClient, scope: WireScope | undefined): Error | undefined {
  const status = client.getTransactionStatus()
  const inTransaction = status === 'T' || status === 'E'
  if (scope === undefined && !inTransaction) return tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
  if (scope !== undefined && status !== 'I') {
    return tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the connection has a transaction that was not opened here'])
  }
  return undefined
}
