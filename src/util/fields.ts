import { tenancyError } from '../errors.ts'
import { closest } from './env.ts'
import { quoteReceived } from './identifier.ts'

/**
 * Checks that a value is an object with none but these fields: a misspelt wish must not be taken for none. `what` names the value in
 * the error.
 * @throws TENANCY_ERR_TENANT_INVALID
 */
export function assertFields(what: string, value: unknown, fields: readonly string[]): void {
  const all = `fields are ${fields.join(', ')}`
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw tenancyError('TENANCY_ERR_TENANT_INVALID', [
      `${what} must be an object, received ${Array.isArray(value) ? 'an array' : quoteReceived(value)}; ${all}`,
    ])
  }
  const unknown = Object.keys(value).find((key) => !fields.includes(key))
  if (unknown === undefined) return
  const meant = closest(unknown, fields)
  const hint = meant === undefined ? all : `did you mean ${meant}?`
  throw tenancyError('TENANCY_ERR_TENANT_INVALID', [`${quoteReceived(unknown)} is no field of ${what}; ${hint}`])
}
