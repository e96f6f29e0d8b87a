import { isTenancyError, tenancyError, type TenancyError } from '../../errors.ts'

/** An error as PostgreSQL sends it, recognised by shape: `instanceof` fails across copies of a driver. */
function sqlState(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  if (!('severity' in error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** SQLSTATEs after which the server hangs up: shut down, killed, idle too long (57P*), 08*, and a transaction's time limits. */
const HANGS_UP = /^(57P|08|25P03|25P04)/

/**
 * True when the connection cannot be used again. An ordinary SQL error leaves it usable; a client-side time-out, an error
 * after which the server hangs up, or anything that is no SQL error does not.
 */
export function breaksConnection(error: unknown): boolean {
  const state = sqlState(error)
  return state === undefined || HANGS_UP.test(state)
}

/** Errors by which node and pg say that the other side is gone. */
const LOST = /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_)/

/** The error of a statement, told as 503 when the database went away under it; anything else is the user's, untouched. */
export function statementFailure(error: unknown): unknown {
  if (isTenancyError(error)) return error
  const state = sqlState(error)
  if (state !== undefined) return HANGS_UP.test(state) ? unavailable(error) : error
  if (!(error instanceof Error)) return error
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const gone =
    LOST.test(code) || error.message.startsWith('Connection terminated') || error.message.includes('not queryable')
  return gone ? unavailable(error) : error
}

/** The error of a checkout: everything that keeps us from getting a connection is a dependency that is down. */
export function checkoutFailure(error: unknown): TenancyError {
  const ended = error instanceof Error && error.message.startsWith('Cannot use a pool after calling end')
  return ended ? tenancyError('TENANCY_ERR_CLOSED', [], error) : unavailable(error)
}

function unavailable(cause: unknown): TenancyError {
  return tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], cause)
}
