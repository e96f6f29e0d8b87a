import { TENANT_SETTING } from '../../contracts/isolation.ts'
import { isTenancyError, tenancyError, type TenancyError } from '../../errors.ts'
import { SCOPE_NOT_SET } from './scope-batch.ts'

/** A value that cannot be set in the session context, because somebody made it read-only. */
const CONTEXT_READ_ONLY = 15_664
/** The transaction of the request is not there any more. */
const NO_TRANSACTION = 3971
/** From this class on the server ends the connection. https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-error-severities */
const FATAL_CLASS = 20
/** Shutting down, killed, no access to the database, and what Azure SQL answers while it moves a database. */
const UNAVAILABLE = new Set([
  233, 596, 921, 922, 927, 983, 4060, 6005, 10_053, 10_054, 10_928, 10_929, 17_142, 17_197, 18_456, 40_197, 40_501,
  40_613, 49_918, 49_919, 49_920,
])
/** Codes by which tedious, mssql and node say that the other side is gone, or was never there. */
const LOST =
  /^(ESOCKET|ECONN|ENOTOPEN|ENOCONN|ETIMEOUT|ELOGIN|EINSTLOOKUP|ECLOSE|EPIPE|EHOST|ENET|ENOTFOUND|EAI_|EINVALIDSTATE)/

/** Nobody gave a connection back in time. */
const WAITED = /^(Failed to acquire a connection from the pool: )?operation timed out for an unknown reason$/

/** The error of a statement; `number` and `class` are there when the server sent it. */
interface Fault {
  readonly code?: unknown
  readonly number?: unknown
  readonly class?: unknown
}

/** The number of a server's error. */
export function errorNumber(error: unknown): number | undefined {
  const { number } = (typeof error === 'object' && error !== null ? error : {}) as Fault
  return typeof number === 'number' ? number : undefined
}

/** Whether the session keeps a tenant that we cannot change. */
export function isPoisoned(error: unknown): boolean {
  return faultsOf(error).some(
    (fault) =>
      [SCOPE_NOT_SET, CONTEXT_READ_ONLY].includes(errorNumber(fault) ?? 0) ||
      // Some servers end the batch at once, with a number of their own.
      (fault instanceof Error && fault.message.includes(`'${TENANT_SETTING}'`)),
  )
}

/**
 * True when the connection cannot be used again. An ordinary error of the server leaves it usable. Anything else does not:
 * a statement that was cancelled, or an answer that could not be read.
 */
export function breaksConnection(error: unknown): boolean {
  if (isTenancyError(error)) return false
  return errorNumber(error) === undefined || errorNumber(error) === NO_TRANSACTION || isGone(error) || isPoisoned(error)
}

/**
 * The error of a statement, told as 503 when the database went away under it; anything else is the user's. Neither mssql
 * nor tedious puts parameters on its errors; `originalError` can lead to the connection, and stays behind.
 */
export function statementFailure(error: unknown): unknown {
  if (isTenancyError(error) || !(error instanceof Error)) return error
  if (isGone(error)) return unavailable(error)
  if (isPoisoned(error)) return unavailable(error)
  return error
}

/** The error of a checkout: everything that keeps us from getting a connection is a dependency that is down. */
export function checkoutFailure(error: unknown, timeoutMs: number): TenancyError {
  if (isTenancyError(error)) return error
  // tarn's own words, and those of mssql 12; when connecting fails it says why instead.
  const timedOut = faultsOf(error).some((fault) => fault instanceof Error && WAITED.test(fault.message))
  return timedOut ? tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs], error) : unavailable(error)
}

function isGone(error: unknown): boolean {
  return faultsOf(error).some((fault) => {
    const number = errorNumber(fault)
    const { class: severity, code } = fault as Fault
    if (number !== undefined)
      return UNAVAILABLE.has(number) || (typeof severity === 'number' && severity >= FATAL_CLASS)
    return typeof code === 'string' && LOST.test(code)
  })
}

/** An error with those that came before it in the same batch, and what each is made of: mssql says EREQUEST of all. */
function faultsOf(error: unknown): readonly unknown[] {
  if (typeof error !== 'object' || error === null) return []
  const { precedingErrors = [] } = error as { precedingErrors?: readonly unknown[] }
  return [error, ...precedingErrors].flatMap((one) => {
    const { originalError } = one as { originalError?: { readonly info?: unknown } }
    return [one, originalError, originalError?.info].filter((part) => typeof part === 'object' && part !== null)
  })
}

function unavailable(cause: unknown): TenancyError {
  return tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], cause)
}
