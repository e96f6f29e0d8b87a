import type { Purpose } from './connection.ts'
import type { SqliteConnection } from './connection-types.ts'

/** The connections of one file, one for each purpose, opened when it is needed, once however many ask. */
export interface KeptConnections {
  get(purpose: Purpose): Promise<SqliteConnection>
  /** The one that is open already. */
  ready(purpose: Purpose): SqliteConnection | undefined
  /** Closes one whose state nobody knows; the next user gets another. */
  drop(purpose: Purpose): void
  /** Closes all at once. */
  dropAll(): void
}

/** Makes {@link KeptConnections}. */
export function keptConnections(open: (purpose: Purpose) => Promise<SqliteConnection>): KeptConnections {
  const opened = new Map<Purpose, Promise<SqliteConnection>>()
  const clients = new Map<Purpose, SqliteConnection>()

  const start = (purpose: Purpose): Promise<SqliteConnection> => {
    const opening = open(purpose).then(
      (client) => {
        // Dropped meanwhile.
        if (opened.get(purpose) === opening) clients.set(purpose, client)
        else client.close()
        return client
      },
      (error: unknown) => {
        if (opened.get(purpose) === opening) opened.delete(purpose)
        throw error
      },
    )
    opened.set(purpose, opening)
    return opening
  }
  const drop = (purpose: Purpose): void => {
    opened.delete(purpose)
    clients.get(purpose)?.close()
    clients.delete(purpose)
  }

  return Object.freeze({
    get: (purpose: Purpose) => opened.get(purpose) ?? start(purpose),
    ready: (purpose: Purpose) => clients.get(purpose),
    drop,
    dropAll() {
      for (const purpose of opened.keys()) drop(purpose)
    },
  })
}
