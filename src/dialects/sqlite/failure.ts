import { isTenancyError, tenancyError } from '../../errors.ts'

/** What is wrong with the file and not with the statement. */
const FILE_CODES = /^SQLITE_(?:CANTOPEN|IOERR|NOTADB|CORRUPT|FULL|READONLY|PROTOCOL)(?:_[A-Z]+)*$/
/** Drivers tell the extended codes too. */
const BUSY = /^SQLITE_BUSY(?:_[A-Z]+)*$/

/** Another process, or another connection of this one, is writing. Nothing was done. */
export function isBusy(error: unknown): boolean {
  return BUSY.test(codeOf(error))
}

/**
 * The error of a statement, told as 503 when the file or its lock is the reason; anything else is the user's, untouched.
 * @param timeoutMs for how long the lock was waited for
 */
export function statementFailure(error: unknown, timeoutMs: number): unknown {
  if (isTenancyError(error)) return error
  const code = codeOf(error)
  if (BUSY.test(code)) return tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs], error)
  if (code === 'TRANSACTION_CLOSED') return tenancyError('TENANCY_ERR_TRANSACTION_FINISHED', [], error)
  if (code !== 'CLIENT_CLOSED' && !FILE_CODES.test(code)) return error
  return tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], error)
}

/** Whether an error says that a name or a row that is referred to is not there. */
export function refusalOf(error: unknown): 'not found' | 'refers to nothing' | undefined {
  const code = codeOf(error)
  const message = error instanceof Error ? error.message : ''
  if (code.startsWith('SQLITE_CONSTRAINT') && message.includes('FOREIGN KEY')) return 'refers to nothing'
  return code === 'SQLITE_ERROR' && /no such table|unknown database/.test(message) ? 'not found' : undefined
}

/** The code of an error as drivers throw it, recognised by shape: `instanceof` fails across copies of a driver. */
function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}
