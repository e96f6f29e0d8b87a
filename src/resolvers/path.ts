import type { TenantResolver } from '../contracts/resolver.ts'
import { tenancyError } from '../errors.ts'
import { quoteReceived } from '../util/identifier.ts'
import { isAtOrBelow } from '../util/path-match.ts'

/** Options of {@link pathResolver} and {@link rewriteTenantPath}; give both the same. */
export interface PathResolverOptions {
  /** The path before the tenant's segment, in whole segments; `/` if that is the first. Default `/tenants`. */
  readonly prefix?: string
}

const DEFAULT_PREFIX = '/tenants'

/**
 * Reads the tenant from the first path segment after `prefix`, as it was sent: nothing is decoded, so a slash or letter
 * in percent form is refused. Another path says nothing. A malformed claim is: no segment, a target that is no path
 * (absolute form), and a prefix that only a lenient router would recognise (`/%74enants`, `//tenants`, `/TENANTS`), so
 * that a route parameter never names a tenant this resolver overlooked.
 * @throws TENANCY_ERR_CONFIG_INVALID when `prefix` is not a plain path
 */
export function pathResolver({ prefix = DEFAULT_PREFIX }: PathResolverOptions = {}): TenantResolver {
  const root = normalizePrefix(prefix)
  const lenient = lenientPattern(root)

  return Object.freeze<TenantResolver>({
    name: 'path',
    resolve: function resolvePath({ originalUrl }) {
      if (!originalUrl.startsWith('/')) return ''
      return claimOf(originalUrl, root) ?? (lenient.test(originalUrl) ? '' : undefined)
    },
  })
}

/**
 * A function for Fastify's `rewriteUrl` that cuts prefix and tenant off the URL, so that routes are written without
 * them: `/tenants/acme/orders?page=2` is routed as `/orders?page=2`. Any tenant segment is cut, also one that the resolver
 * then refuses; every other URL stays as it is. All routes become reachable below the prefix, also those without tenancy.
 * @throws TENANCY_ERR_CONFIG_INVALID when `prefix` is not a plain path
 */
export function rewriteTenantPath({
  prefix = DEFAULT_PREFIX,
}: PathResolverOptions = {}): (request: { readonly url?: string | undefined }) => string {
  const root = normalizePrefix(prefix)

  return function rewriteUrl({ url = '/' }) {
    const claim = claimOf(url, root)
    if (!claim) return url
    const rest = url.slice(root.length + 1 + claim.length)
    return rest.startsWith('/') ? rest : `/${rest}`
  }
}

/** The first segment after `root`, '' if there is none, `undefined` if `url` is not at or below `root`. */
function claimOf(url: string, root: string): string | undefined {
  const end = url.search(/[?#]/)
  const path = end === -1 ? url : url.slice(0, end)
  if (!isAtOrBelow(path, root)) return undefined
  const start = root.length + 1
  const slash = path.indexOf('/', start)
  return path.slice(start, slash === -1 ? path.length : slash)
}

/** Matches what a router may take for `root`: percent-encoded letters, repeated slashes, other case, `;` parameters. */
function lenientPattern(root: string): RegExp {
  const characters = Array.from(root, (character) => {
    if (character === '/') return '(?:/|%2f)+'
    const codes = [character.toLowerCase(), character.toUpperCase()].map((c) => `%${c.charCodeAt(0).toString(16)}`)
    return `(?:${character === '.' ? '\\.' : character}|${codes.join('|')})`
  })
  return new RegExp(`^${characters.join('')}(?:[/?#;]|%2f|$)`, 'i')
}

function normalizePrefix(prefix: unknown): string {
  if (prefix === '/') return ''
  const root = typeof prefix === 'string' ? `/${prefix.replace(/^\//, '').replace(/\/$/, '')}` : ''
  if (!/^(?:\/[A-Za-z0-9._~-]+)+$/.test(root)) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      `The prefix of tenant paths must be a plain path such as "${DEFAULT_PREFIX}", of letters, digits and ".", "_", ` +
        `"~", "-"; received ${quoteReceived(prefix)}.`,
    ])
  }
  return root
}
