import { tenancyError } from '../errors.ts'
import { quoteReceived } from './identifier.ts'

const MAX_LENGTH = 255
/** Control characters, and half a surrogate pair: databases refuse, strip or misread them. */
const unusable = /[\p{Cc}\p{Surrogate}]/u
const integer = /^([+-]?)(0x[0-9a-f_]+|0o[0-7_]+|0b[01_]+|\d[\d_]*)$/i
const hexDigits = /^[0-9a-f]{32}$/
const groups = /^(.{8})(.{4})(.{4})(.{4})(.{12})$/

/**
 * Checks what the rows of a tenant carry.
 * @throws TENANCY_ERR_TENANT_INVALID unless it is a text of 1 to 255 characters without control characters and without
 * blanks around it
 */
export function checkRowKey(key: unknown): string {
  if (typeof key === 'string' && key !== '' && key.length <= MAX_LENGTH && !unusable.test(key) && key.trim() === key) {
    return key
  }
  throw tenancyError('TENANCY_ERR_TENANT_INVALID', [
    `its row key must be a text of 1 to ${MAX_LENGTH} characters, without control characters and without blanks around it; received ${quoteReceived(key)}.`,
  ])
}

/**
 * One form for all keys that a database may read as the same value: `042`, `+42` and `42` are one integer, `{A…}` and `a…`
 * one UUID. What is neither is its own form. Two tenants must never have keys of one form: cast to the type of the tenant
 * column they would share their rows.
 */
export function canonicalRowKey(key: string): string {
  const digits = key.replaceAll(/[{}-]/g, '').toLowerCase()
  if (hexDigits.test(digits)) return digits.replace(groups, '$1-$2-$3-$4-$5')
  const [, sign, number] = integer.exec(key) ?? []
  if (number === undefined) return key
  const plain = number.replaceAll('_', '')
  // What has a prefix and no digits after it is no number.
  if (/^0[xob]$/i.test(plain)) return key
  return String(sign === '-' ? -BigInt(plain) : BigInt(plain))
}
