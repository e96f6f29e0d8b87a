import { tenancyError } from '../errors.ts'

/** Slugs nobody can register unless the configuration says otherwise: names of ours, of hosts, and of common routes. */
export const defaultReservedIdentifiers: ReadonlySet<string> = new Set([
  'account',
  'admin',
  'api',
  'app',
  'assets',
  'auth',
  'cdn',
  'dashboard',
  'docs',
  'health',
  'help',
  'internal',
  'localhost',
  'login',
  'mail',
  'metrics',
  'public',
  'root',
  'static',
  'status',
  'support',
  'system',
  'tenancy',
  'tenant',
  'tenants',
  'www',
])

const MIN_LENGTH = 3
const MAX_LENGTH = 63
const SHOWN_LENGTH = 80
const NAMESPACE_DIGITS = 25

const RULE =
  'it must have 3 to 63 characters a-z, 0-9 and "-", start with a letter, end with a letter or a digit, ' +
  'and not have "--" as its third and fourth character'

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * The tenant identifier (slug) that `value` is, or `undefined` if it is not one. Nothing is trimmed, folded or decoded:
 * `Acme` is refused, not lower-cased. Labels with `--` in third and fourth place (`xn--…`) are refused because IDNA
 * reserves them. Over-long input costs no more than short input.
 */
export function parseIdentifier(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length < MIN_LENGTH || value.length > MAX_LENGTH) return undefined
  return isSlug(value) && !value.startsWith('--', 2) ? value : undefined
}

/** `/^[a-z][a-z0-9-]*[a-z0-9]$/`, without the price that a regular expression has on the way of every request. */
function isSlug(text: string): boolean {
  const last = text.length - 1
  for (let i = 0; i <= last; i++) {
    const code = text.charCodeAt(i)
    if (code >= 0x61 && code <= 0x7a) continue
    const allowed = i > 0 && ((code >= 0x30 && code <= 0x39) || (code === 0x2d && i < last))
    if (!allowed) return false
  }
  return true
}

/** True for a text that an identifier can have in it. */
export function isPartOfIdentifier(text: string): boolean {
  return /^[a-z0-9-]*$/.test(text)
}

/** True when `identifier` may not be registered or asked for, such as `www`. */
export function isReserved(identifier: string, reserved: ReadonlySet<string>): boolean {
  return reserved.has(identifier)
}

/**
 * Checks that a new tenant may have this identifier.
 * @throws TENANCY_ERR_IDENTIFIER_INVALID when it is malformed or reserved
 */
export function assertRegistrable(identifier: unknown, reserved: ReadonlySet<string>): asserts identifier is string {
  const parsed = parseIdentifier(identifier)
  if (parsed === undefined) {
    throw tenancyError('TENANCY_ERR_IDENTIFIER_INVALID', [`received ${quoteReceived(identifier)}; ${RULE}.`])
  }
  if (isReserved(parsed, reserved)) {
    throw tenancyError('TENANCY_ERR_IDENTIFIER_INVALID', [`${quoteReceived(parsed)} is reserved; choose another one.`])
  }
}

/**
 * The namespace of the tenant with this id: `t` and the 128 bits of the UUID as 25 base-36 digits. Injective, 26
 * characters, lower case, no underscore.
 * @throws TENANCY_ERR_TENANT_INVALID when `id` is not a UUID
 */
export function generateNamespace(id: string): string {
  if (typeof id !== 'string' || id.length !== 36 || !uuid.test(id)) {
    throw tenancyError('TENANCY_ERR_TENANT_INVALID', [`its id must be a UUID, received ${quoteReceived(id)}.`])
  }
  const bits = BigInt(`0x${id.replaceAll('-', '')}`)
  return `t${bits.toString(36).padStart(NAMESPACE_DIGITS, '0')}`
}

/**
 * What was received, safe to print in a log or an error: a string JSON-quoted, in printable ASCII and cut to 80
 * characters; anything else by its type only.
 */
export function quoteReceived(value: unknown): string {
  if (typeof value !== 'string') return value === null ? 'null' : typeof value
  const quoted = JSON.stringify(value.slice(0, SHOWN_LENGTH)).replace(/[^\x20-\x7e]/g, escapeCharacter)
  if (quoted.length <= SHOWN_LENGTH && value.length <= SHOWN_LENGTH) return quoted
  return `${quoted.slice(0, SHOWN_LENGTH - 4)}..."`
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
