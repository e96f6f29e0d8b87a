import { tenancyError } from '../../../errors.ts'
import type { ScopeSql } from '../scope-sql.ts'
import type { NamedScope, ScopeNames } from './pg-named-scope.ts'
import type { PgClient, PgConnection, PgModule, PgOutlet, PgQuery, PgQueryConfig } from './pg-types.ts'
import { recorded, wireMessages } from './pg-wire.ts'

/** What goes ahead of a statement, in its flush. If it fails, PostgreSQL skips the statement. */
export interface Lead {
  /** Whether the statement belongs in a transaction that was scoped at BEGIN, or stands alone. */
  readonly inTransaction: boolean
  /** Parse, Bind and Execute, without Sync: serialised once per tenant. Absent where nothing goes ahead. */
  readonly bytes: Uint8Array | undefined
  /** The same under a name, for single statements. Absent where names could be read, or may lead to another connection. */
  readonly named?: NamedScope | undefined
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

/** Serialises what a scope sends ahead of statements; with `names`, under a name where that saves the server a parse. */
export function wireScope(pg: PgModule, scope: ScopeSql, names?: ScopeNames): WireScope {
  const { text, values, setLocal, again } = scope
  const inside = again === undefined ? undefined : wireMessages(pg, { name: '', text: again, values: [] })
  return Object.freeze({
    setLocal,
    alone: Object.freeze({
      inTransaction: false,
      bytes: wireMessages(pg, { name: '', text, values }),
      named: names?.of(scope),
    }),
    inside: Object.freeze({ inTransaction: true, bytes: inside }),
  })
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
export function scopedQueries(pg: PgModule): ScopedQueries {
  const { Query, Result } = pg

  class ScopedQuery extends Query {
    readonly #config: PgQueryConfig
    readonly #client: PgClient
    readonly #lead: Lead
    /** What went ahead went under this name. */
    #named: NamedScope | undefined
    /** True until what went ahead has completed: messages up to there are not the user's. */
    #leading = false
    #settled = false

    constructor(config: PgQueryConfig, client: PgClient, lead: Lead) {
      // Given a config, Query copies it property by property, which takes longer than all of this.
      super(config.text)
      this.values = config.values
      this.types = config.types
      this.binary = config.binary
      this._rowMode = config.rowMode
      this._results = this._result = new Result(config.rowMode, config.types)
      this.#config = config
      this.#client = client
      this.#lead = lead
    }

    /** Always the extended protocol: one statement per query, and a scope can share its flush. */
    override requiresPreparation(): boolean {
      return true
    }

    /** Never throws: pg would take the connection for busy ever after, or not be there to catch it. Nothing was sent then. */
    override submit(connection: PgConnection): Error | null {
      try {
        return misplaced(this.#client, this.#lead) ?? super.submit(connection)
      } catch (error) {
        return asError(error)
      }
    }

    override prepare(connection: PgOutlet): void {
      let bytes = this.#lead.named?.ahead(this.#client)
      if (bytes === undefined) bytes = bytesAhead(this.#client, this.#lead)
      else this.#named = this.#lead.named
      // A value that cannot be sent is told to `handleError` in here: nothing leads yet, so it is no answer to the scope.
      const messages = recorded(pg, (outlet) => super.prepare(outlet), bytes)
      this.#leading = bytes !== undefined
      connection._send(messages)
    }

    override handleRowDescription(message: unknown): void {
      if (!this.#leading) super.handleRowDescription(message)
    }

    override handleDataRow(message: unknown): void {
      if (!this.#leading) super.handleDataRow(message)
    }

    override handleCommandComplete(message: unknown, connection: PgConnection): void {
      if (this.#leading) {
        this.#leading = false
        this.#named?.succeeded(this.#client)
      } else super.handleCommandComplete(message, connection)
    }

    override handleError(thrown: unknown, connection: PgConnection): void {
      if (this.#settled) return
      this.#settled = true
      const error = asError(thrown)
      if (this.#leading && this.#named?.failed(this.#client, error) === true) this.#repeat()
      else super.handleError(error, connection)
    }

    override handleReadyForQuery(connection: PgConnection): void {
      if (this.#settled) return
      super.handleReadyForQuery(connection)
      this.#settled = true
    }

    /** Once more, without the name, as soon as the connection is ready: the server has skipped all behind the scope. */
    #repeat(): void {
      const again = new ScopedQuery(this.#config, this.#client, this.#lead)
      if (this.callback !== undefined) again.callback = this.callback
      this.#client.query(again)
    }
  }

  return { query: (config, client, lead) => new ScopedQuery(config, client, lead) }
}

/** What the `toPostgres` or `toJSON` of a value threw may be anything; falsy, pg would take it for success. */
function asError(thrown: unknown): Error {
  if (typeof thrown === 'object' && thrown !== null) return thrown as Error
  return new TypeError(`A value cannot be sent: ${String(thrown)}`, { cause: thrown })
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
