import type { PgModule } from './pg-types.ts'

/** Goes ahead of statements, or the connection is one tenant's; PostgreSQL reports it since 18. */
const SAID_AGAIN = 'search_path'

/**
 * Makes pg's `Client` tell whether its session is still as it began (`altered`). PostgreSQL reports some settings when a connection
 * opens and, before it is ready again, each change of one, whatever statement made it and whatever its command tag says. Among them
 * is what decides how all text is read: `client_encoding` and `standard_conforming_strings`. What is set for a transaction is
 * reported again when it ends.
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC
 */
export function watchingClient(pg: PgModule): PgModule['Client'] {
  return class Client extends pg.Client {
    readonly #begun = new Map<string, string>()
    readonly #altered = new Set<string>()

    constructor(options: object) {
      super(options)
      let opening = true
      this.connection.once('readyForQuery', () => (opening = false))
      this.connection.on('parameterStatus', ({ parameterName: name, parameterValue: value }) => {
        if (name === SAID_AGAIN) return
        if (opening) this.#begun.set(name, value)
        else if (this.#begun.get(name) === value) this.#altered.delete(name)
        // A pooler may keep to itself what a setting was.
        else if (this.#begun.has(name)) this.#altered.add(name)
      })
    }

    override get altered(): boolean {
      return this.#altered.size > 0
    }
  }
}
