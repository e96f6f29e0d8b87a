import type { PgClient, PgPool } from './pg-types.ts'

/** What Drizzle hands to a client: a statement, its values, or neither. */
type Query = (config: unknown, ...rest: readonly unknown[]) => unknown
type Connected = (failure: Error | undefined, client?: PgClient, release?: PgClient['release']) => void

/**
 * Milliseconds. The registry answers every request of a cold tenant, and its statements are short: one that has no answer by now is on a
 * connection that hangs, which would be taken until TCP gives up. It fails, and the pool drops the connection.
 */
export const REGISTRY_PATIENCE_MS = 5000

/**
 * A pool for Drizzle without a scope. Whatever it does is done by the pool itself: an object that inherits from it would keep
 * books of its own, and the places of connections that it closes would be taken for ever.
 * @param patienceMs after which a statement fails, with its connection; one that a transaction is to have is asked first. Default: never
 */
export function unscopedPool(pool: PgPool, patienceMs?: number): object {
  const { query } = pool as unknown as { readonly query: Query }
  const limit = patienceMs === undefined ? {} : { query_timeout: patienceMs }
  const inTime: Query = (config, ...rest) =>
    query.call(pool, patienceMs !== undefined && typeof config === 'object' ? { ...config, ...limit } : config, ...rest)
  const take = async (): Promise<PgClient> => {
    const client = await connect(pool)
    try {
      if (patienceMs !== undefined) await client.query({ text: 'select 1', ...limit })
      return client
    } catch (error) {
      client.release(true)
      throw error
    }
  }
  const connectNow = (callback?: Connected): Promise<PgClient> | undefined => {
    const taken = take()
    if (callback === undefined) return taken
    taken.then(
      (client) => callback(undefined, client, client.release),
      (failure: Error) => callback(failure, undefined, () => {}),
    )
    return undefined
  }
  return Object.create(pool, { query: { value: inTime }, connect: { value: connectNow } }) as object
}

/** A client that gives itself back when it is lost, and only once: drizzle-orm 0.45 keeps one whose BEGIN failed. */
function connect(pool: PgPool): Promise<PgClient> {
  return new Promise((resolve, reject) => {
    pool.connect((failure, client) => {
      if (client === undefined) {
        reject(failure)
        return
      }
      const { release } = client
      let released = false
      client.release = (error) => {
        if (released) return
        released = true
        client.removeListener('error', client.release)
        release(error)
      }
      client.on('error', client.release)
      resolve(client)
    })
  })
}
