import { tenancyError, type TenancyError } from '../errors.ts'

const reasons = new WeakMap<object, string>()

/** TENANCY_ERR_TENANT_UNKNOWN, which says the same to everybody; `reason` is for the log alone, and names no tenant. */
export function refused(reason: string): TenancyError {
  const error = tenancyError('TENANCY_ERR_TENANT_UNKNOWN')
  reasons.set(error, reason)
  return error
}

/** Why a request was refused, if that is known. */
export function reasonOf(error: object): string | undefined {
  return reasons.get(error)
}
