import { tenancyError } from '../../../errors.ts'
import type { ScopeSql } from '../scope-sql.ts'
import type { PgClient, PgConnection, PgModule, PgQuery, PgQueryConfig } from './pg-types.ts'

/** What goes ahead of a statement, in its flush. If it fails, PostgreSQL skips the statement. */
export interface Lead {
  /** Whether the statement belongs in a transaction that was scoped at BEGIN, or stands alone. */
  readonly inTransaction: boolean
  /** Parse, Bind and Execute, without Sync: serialised once per tenant. Absent where nothing goes ahead. */
  readonly bytes: Uint8Array | undefined
  /** Where the connection itself is the scope: the database that it must lead to. */
  readonly database?: string
}

/** A compiled scope with the bytes that pg would send for it. */
export interface WireScope extends Pick<ScopeSql, 'setLocal'> {
  readonly alone: Lead
  readonly inside: Lead
}

/** Of a scope that needs nothing said: the connection has its path from the start, and names are written out. */
export const silentScope: WireScope = Object.freeze({
  setLocal: '',
  alone: Object.freeze({ inTransaction: false, bytes: undefined }),
  inside: Object.freeze({ inTransaction: true, bytes: undefined }),
})

/**
 * Of a tenant that has a database to itself: nothing is said there either. Whatever hands out connections, nothing is sent on one
 * that was opened to another database.
 */
export function connectionScope(database: string): WireScope {
  return Object.freeze({
    setLocal: '',
    alone: Object.freeze({ ...silentScope.alone, database }),
    inside: Object.freeze({ ...silentScope.inside, database }),
  })
}

/** Serialises what a scope sends ahead of statements. */
export function wireScope(pg: PgModule, { text, values, setLocal, again }: ScopeSql): WireScope {
  const inside = again === undefined ? undefined : serialised(pg, again, [])
  return Object.freeze({
    setLocal,
    alone: Object.freeze({ inTransaction: false, bytes: serialised(pg, text, values) }),
    inside: Object.freeze({ inTransaction: true, bytes: inside }),
  })
}

function serialised({ Connection }: PgModule, text: string, values: readonly string[]): Uint8Array {
  const chunks: Uint8Array[] = []
  const recorder = { _send: (bytes: Uint8Array) => void chunks.push(Uint8Array.from(bytes)) }
  Connection.prototype.parse.call(recorder, { text, name: '' })
  Connection.prototype.bind.call(recorder, { values })
  Connection.prototype.execute.call(recorder, {})
  return Buffer.concat(chunks)
}

/** Makes queries that carry their scope in the same flush. */
export interface ScopedQueries {
  /**
   * One statement with what goes ahead of it; standing alone they share one implicit transaction that ends at their Sync.
   * The server's transaction status is checked at the moment of sending.
   */
  query(config: PgQueryConfig, client: PgClient, lead: Lead): PgQuery
}

/** Builds {@link ScopedQueries} on the loaded `pg`. */
export function scopedQueries({ Query }: PgModule): ScopedQueries {
  class ScopedQuery extends Query {
    readonly #client: PgClient
    readonly #lead: Lead
    /** True until what went ahead has completed: messages up to there are not the user's. */
    #leading = false
    #settled = false

    constructor(config: PgQueryConfig, client: PgClient, lead: Lead) {
      super(config)
      this.#client = client
      this.#lead = lead
    }

    /** Always the extended protocol: one statement per query, and a scope can share its flush. */
    override requiresPreparation(): boolean {
      return true
    }

    override submit(connection: PgConnection): Error | null {
      return misplaced(this.#client, this.#lead) ?? super.submit(connection)
    }

    override prepare(connection: PgConnection): void {
      const bytes = bytesAhead(this.#client, this.#lead)
      this.#leading = bytes !== undefined
      if (bytes !== undefined) connection._send(bytes)
      super.prepare(connection)
    }

    override handleRowDescription(message: unknown): void {
      if (!this.#leading) super.handleRowDescription(message)
    }

    override handleDataRow(message: unknown): void {
      if (!this.#leading) super.handleDataRow(message)
    }

    override handleCommandComplete(message: unknown, connection: PgConnection): void {
      if (this.#leading) this.#leading = false
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

  return { query: (config, client, lead) => new ScopedQuery(config, client, lead) }
}

/** What to send ahead now. Nothing in a failed transaction: it would fail too, and PostgreSQL skip the ROLLBACK behind it. */
export function bytesAhead(client: PgClient, { bytes }: Lead): Uint8Array | undefined {
  return client.getTransactionStatus() === 'E' ? undefined : bytes
}

/** The error when the connection is not where, or not in the state that, `lead` needs. Nothing is sent then. */
export function misplaced(client: PgClient, lead: Lead): Error | undefined {
  if (lead.database !== undefined && client.database !== lead.database) {
    return tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the connection leads to the database of somebody else'])
  }
  const status = client.getTransactionStatus()
  const inTransaction = status === 'T' || status === 'E'
  if (lead.inTransaction && !inTransaction) return tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
  if (!lead.inTransaction && status !== 'I') {
    return tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the connection has a transaction that was not opened here'])
  }
  return undefined
}
