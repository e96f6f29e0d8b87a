import { findTenancyError, tenancyError } from '../errors.ts'
import { invalid } from './tenant-input.ts'

const UNIQUE_VIOLATION = '23505'
const CHECK_VIOLATION = '23514'
const DATA_EXCEPTION = /^22...$/
const MAX_DEPTH = 5

/**
 * The error of a registry statement in our terms: taken, invalid, or else unavailable. The driver's own error is the
 * `cause`; Drizzle's wrapper, whose message is the SQL with its parameters, is dropped.
 */
export function storeError(error: unknown): unknown {
  const known = findTenancyError(error)
  if (known !== undefined && !isUnavailable(known.code)) return known
  const chain = causes(error)
  const cause = chain.find((link) => !isDrizzleWrapper(link))
  const states = new Set(chain.map(codeOf))
  if (states.has(UNIQUE_VIOLATION)) return tenancyError('TENANCY_ERR_TENANT_EXISTS', [], cause)
  if (states.has(CHECK_VIOLATION) || [...states].some((state) => DATA_EXCEPTION.test(state))) {
    return invalid('the database refused one of its values.', cause)
  }
  // All the rest, from a closed port to a missing right, means that the registry cannot do its work now.
  return tenancyError('TENANCY_ERR_STORE_UNAVAILABLE', [], cause)
}

function isUnavailable(code: string): boolean {
  return code === 'TENANCY_ERR_DATABASE_UNAVAILABLE' || code === 'TENANCY_ERR_POOL_TIMEOUT'
}

function causes(error: unknown): object[] {
  const chain: object[] = []
  for (let link = error; typeof link === 'object' && link !== null && chain.length < MAX_DEPTH; ) {
    chain.push(link)
    link = 'cause' in link ? link.cause : undefined
  }
  return chain
}

function codeOf(link: object): string {
  return 'code' in link && typeof link.code === 'string' ? link.code : ''
}

function isDrizzleWrapper(link: object): boolean {
  return 'query' in link && 'params' in link && 'cause' in link && link.cause !== undefined
}
