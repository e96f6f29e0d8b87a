import type { TenantResolver } from '../contracts/resolver.ts'
import { tenancyError } from '../errors.ts'
import { quoteReceived } from '../util/identifier.ts'

/** Options of {@link headerResolver}. */
export interface HeaderResolverOptions {
  /** Name of the request header, in any case. Default `x-tenant-id`. */
  readonly name?: string
}

const DEFAULT_NAME = 'x-tenant-id'

/** Longer values are refused unread; an identifier has 63 characters at most. */
const MAX_LENGTH = 512

/** Headers that Node joins in its own way or, when repeated, silently cuts to the first one. */
const unusable = new Set([
  'age',
  'authorization',
  'content-length',
  'content-type',
  'cookie',
  'etag',
  'expires',
  'from',
  'host',
  'if-modified-since',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'referer',
  'retry-after',
  'server',
  'set-cookie',
  'user-agent',
])

/**
 * Reads the tenant from a request header. Spaces and tabs around the value are dropped. No header says nothing; a blank
 * one, and one sent twice, is a malformed claim. Anyone can send a header: use `authorize`, or a chain that must agree.
 * @throws TENANCY_ERR_CONFIG_INVALID when `name` is no header name, or one of which Node hides a repetition
 */
export function headerResolver({ name = DEFAULT_NAME }: HeaderResolverOptions = {}): TenantResolver {
  const header = normalizeName(name)

  return Object.freeze<TenantResolver>({
    name: 'header',
    resolve: function resolveHeader({ headers }) {
      const value = headers[header]
      if (value === undefined) return undefined
      return typeof value === 'string' && value.length <= MAX_LENGTH ? trimBlanks(value) : ''
    },
  })
}

function normalizeName(name: unknown): string {
  const valid = typeof name === 'string' && /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name)
  if (!valid || unusable.has(name.toLowerCase())) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      `headerResolver: name must be a header of your own such as "${DEFAULT_NAME}", not a standard one of which Node ` +
        `hides repetitions; received ${quoteReceived(name)}.`,
    ])
  }
  return name.toLowerCase()
}

// Not `trim()`, which would also drop newlines and Unicode spaces; not a regular expression, which would be quadratic.
function trimBlanks(value: string): string {
  let start = 0
  let end = value.length
  while (start < end && isBlank(value.charCodeAt(start))) start++
  while (end > start && isBlank(value.charCodeAt(end - 1))) end--
  return value.slice(start, end)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}
