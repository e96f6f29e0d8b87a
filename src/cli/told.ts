import { findTenancyError } from '../errors.ts'

/** An error for the terminal: our own with its code, and what it was caused by. */
export function told(error: unknown): string {
  const known = findTenancyError(error)
  if (known === undefined) return error instanceof Error ? error.message : String(error)
  const { cause } = known
  return `${known.code}: ${known.message}${cause instanceof Error ? ` (${cause.message})` : ''}`
}
