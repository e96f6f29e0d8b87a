import type { PgClient, PgModule, PgPool, PgPoolOptions } from './pg-types.ts'

/** Longest wait for a new connection itself. Two fit into the 10 s after which Fastify gives up a start without a code. */
const CONNECT_TIMEOUT_MS = 4000

/** A pool that can be ended whatever is still checked out. */
export interface EndablePool {
  readonly pool: PgPool
  /** Ends the pool; connections that are in use longer than `patienceMs` are cut, and so is what runs on them. */
  end(patienceMs: number): Promise<void>
}

/** Opens a pool; nothing connects before the first checkout. */
export function openPool(pg: PgModule, options: Omit<PgPoolOptions, 'Client'>): EndablePool {
  // The pool's time-out is for a free connection, and long in a rush; a server that does not answer is down.
  class Client extends pg.Client {
    constructor(clientOptions: object) {
      const connectionTimeoutMillis = Math.min(options.connectionTimeoutMillis, CONNECT_TIMEOUT_MS)
      super({ ...clientOptions, connectionTimeoutMillis })
    }
  }
  const clients = new Set<PgClient>()
  const pool = new pg.Pool({ ...options, Client })
  pool.on('connect', (client) => void clients.add(client))
  pool.on('remove', (client) => void clients.delete(client))
  // An idle connection that dies is replaced by the pool; the next statement tells if the server is gone.
  pool.on('error', () => {})

  const end = async (patienceMs: number): Promise<void> => {
    const impatience = setTimeout(() => {
      for (const client of clients) client.end().catch(() => {})
    }, patienceMs)
    try {
      await pool.end()
    } finally {
      clearTimeout(impatience)
    }
  }
  return Object.freeze({ pool, end })
}
