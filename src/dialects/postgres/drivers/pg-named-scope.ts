import { randomBytes } from 'node:crypto'
import { quoteIdentifier } from '../quote.ts'
import type { ScopeSql } from '../scope-sql.ts'
import type { PgClient, PgModule } from './pg-types.ts'
import { parseMessage, wireMessages } from './pg-wire.ts'

/** The server does not know the name of a prepared statement, or has it already. */
const UNKNOWN_NAME = '26000'
const NAME_TAKEN = '42P05'

/** A scope of one tenant under a name. */
export interface NamedScope {
  /** Bind and Execute; the first time on this connection what prepares and tries the name. Undefined where it must go without its name. */
  ahead(client: PgClient): Uint8Array | undefined
  /** Told that the scope was set on this connection. */
  succeeded(client: PgClient): void
  /** Told what the server said instead. True when it is about the name: nothing was done, and the name is not used there again. */
  failed(client: PgClient, error: Error): boolean
}

/**
 * Scope statements that PostgreSQL parses once per connection. Their names are secret: what runs on a connection can drop them
 * all, and the server then refuses the scope with all that follows, but cannot put another statement under a name that it does
 * not know. For connections on which no tenant can read `pg_prepared_statements`, and not behind a pooler.
 *
 * A pooler that we are not told of may give the statement a name that can be guessed. It changes messages and no SQL, so the first
 * scope of each connection is sent as an SQL EXECUTE: what has another name on the server is unknown there, and the name is given up.
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
 */
export class ScopeNames {
  readonly #pg: PgModule
  readonly #secret = randomBytes(16).toString('hex')
  /** By text. On a connection: true, prepared; false, given up. */
  readonly #statements = new Map<string, { readonly name: string; readonly on: WeakMap<PgClient, boolean> }>()

  constructor(pg: PgModule) {
    this.#pg = pg
  }

  /** Serialises the scope of a tenant under its name. */
  of({ text, values }: ScopeSql): NamedScope {
    const statement = this.#statements.get(text) ?? { name: this.#newName(), on: new WeakMap<PgClient, boolean>() }
    this.#statements.set(text, statement)
    const { name, on } = statement
    const run = wireMessages(this.#pg, { name, values })
    const first = Buffer.concat([parseMessage(this.#pg, name, text), wireMessages(this.#pg, asSql(name, values))])
    return Object.freeze({
      ahead(client) {
        const known = on.get(client)
        if (known === true) return run
        return known === undefined ? first : undefined
      },
      succeeded(client) {
        if (!on.has(client)) on.set(client, true)
      },
      failed(client, error) {
        const code = 'code' in error ? error.code : undefined
        if (code !== UNKNOWN_NAME && code !== NAME_TAKEN) return false
        on.set(client, false)
        return true
      },
    } satisfies NamedScope)
  }

  #newName(): string {
    return `tenancy_${this.#secret}_${this.#statements.size}`
  }
}

/** The same statement by SQL: the name as the server has it, whatever stands in the messages. */
function asSql(name: string, values: readonly string[]) {
  return { name: '', text: `execute ${quoteIdentifier(name)}(${values.map(asHex).join(',')})`, values: [] }
}

/** EXECUTE takes no parameters. In digits alone no byte is a quote or a backslash, whatever `client_encoding` a session was left with. */
function asHex(value: string): string {
  return `pg_catalog.convert_from(pg_catalog.decode('${Buffer.from(value).toString('hex')}','hex'),'UTF8')`
}
