import { isPromise } from 'node:util/types'
import { tenancyError } from '../errors.ts'

/**
 * What the callback of a synchronous transaction gave, unless it goes on after the transaction is over: a promise, or a query that runs when
 * it is awaited.
 * @throws TENANCY_ERR_STATEMENT_REFUSED
 */
export function refuseAsynchronous<T>(result: T): T {
  if (typeof (result as { then?: unknown } | null | undefined)?.then !== 'function') return result
  // Its own end is of no interest: what it still does is refused. A query is left alone: asked for its end it would begin.
  if (isPromise(result)) result.catch(() => {})
  throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [
    'a transaction whose callback is asynchronous, with better-sqlite3; write it without `async`, and end its queries with `.run()`, `.all()` or `.get()`',
  ])
}
