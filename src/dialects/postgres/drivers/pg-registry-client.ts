import type { PgPool } from './pg-types.ts'

/** What Drizzle hands to a client: a statement, its values, or neither. */
type Query = (config: unknown, ...rest: readonly unknown[]) => unknown

/**
 * Milliseconds. The registry answers every request of a cold tenant, and its statements are short: one that has no answer by now is on a
 * connection that hangs, which would be taken until TCP gives up. It fails, and the pool drops the connection.
 */
export const REGISTRY_PATIENCE_MS = 5000

/** The pool for statements of the registry: those that have no answer after `patienceMs` fail. */
export function registryClient(pool: PgPool, patienceMs: number): object {
  const { query } = pool as unknown as { readonly query: Query }
  const inTime: Query = (config, ...rest) =>
    query.call(pool, typeof config === 'object' ? { ...config, query_timeout: patienceMs } : config, ...rest)
  return Object.create(pool, { query: { value: inTime } }) as object
}
