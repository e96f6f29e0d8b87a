import { isTenancyError, tenancyError, type TenancyError } from '../../errors.ts'

/** An error as the server sends it, recognised by shape: `instanceof` fails across copies of a driver. */
interface ServerError {
  readonly errno: number
  readonly sqlState: string
}

/** Killed, shutting down, idle too long; the class 08 is about connections as a whole. */
const HANGS_UP = new Set([1053, 1927, 4031])

function isServerError(error: unknown): error is ServerError {
  if (typeof error !== 'object' || error === null || !('errno' in error) || !('sqlState' in error)) return false
  return typeof error.errno === 'number' && typeof error.sqlState === 'string'
}

function hangsUp({ errno, sqlState }: ServerError): boolean {
  return HANGS_UP.has(errno) || sqlState.startsWith('08')
}

/**
 * True when the connection cannot be used again. An ordinary SQL error leaves it usable. Anything else does not: after an
 * error of its own, such as a `typeCast` that threw, mysql2 takes the rest of the rows for the answer to the next statement.
 */
export function breaksConnection(error: unknown): boolean {
  return !isServerError(error) || hangsUp(error)
}

/** Errors by which node and mysql2 say that the other side is gone. */
const LOST = /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_|ERR_STREAM|PROTOCOL_)/

/**
 * The error of a statement, told as 503 when the database went away under it; anything else is the user's. mysql2 puts the
 * statement with all its parameters on its errors: they get the text without them.
 */
export function statementFailure(error: unknown, text?: string): unknown {
  if (isTenancyError(error) || !(error instanceof Error)) return error
  if ('sql' in error) error.sql = text
  if (isServerError(error)) return hangsUp(error) ? unavailable(error) : error
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const gone = LOST.test(code) || ('fatal' in error && error.fatal === true)
  return gone ? unavailable(error) : error
}

/** The error of a checkout: everything that keeps us from getting a connection is a dependency that is down. */
export function checkoutFailure(error: unknown): TenancyError {
  if (isTenancyError(error)) return error
  const closed = error instanceof Error && error.message === 'Pool is closed.'
  return closed ? tenancyError('TENANCY_ERR_CLOSED', [], error) : unavailable(error)
}

/** The number of a server's error. */
export function errorNumber(error: unknown): number | undefined {
  return isServerError(error) ? error.errno : undefined
}

function unavailable(cause: unknown): TenancyError {
  return tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], cause)
}
