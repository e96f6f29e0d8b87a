import { tenancyError } from '../errors.ts'
import { quoteReceived } from './identifier.ts'

/**
 * A test for route URLs at or below one of `prefixes`, by whole segments: `/health` covers `/health`, `/health/` and
 * `/health/live`, never `/healthcare-records`. `/` covers the root alone, not every route. Case counts; a trailing slash
 * of a prefix does not.
 * @throws TENANCY_ERR_CONFIG_INVALID when a prefix is not a plain path that starts with `/`
 */
export function pathMatcher(prefixes: readonly string[]): (routeUrl: string) => boolean {
  const roots = prefixes.map(normalizePrefix)

  return function matchesPath(routeUrl) {
    return roots.some((root) => (root === '' ? routeUrl === '/' || routeUrl === '' : isAtOrBelow(routeUrl, root)))
  }
}

/** True when `path` is `root` (no trailing slash) or lies below it. */
export function isAtOrBelow(path: string, root: string): boolean {
  return path.startsWith(root) && (path.length === root.length || path.charAt(root.length) === '/')
}

function normalizePrefix(prefix: unknown): string {
  // `*`, `?` and `#` would be taken for a pattern or a query; an empty segment matches no route.
  if (typeof prefix !== 'string' || !/^\/[^\s*?#\\]*$/.test(prefix) || prefix.includes('//')) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      `A path to match must start with "/" and be a plain path without "*", "?", "#", spaces or empty segments; ` +
        `received ${quoteReceived(prefix)}.`,
    ])
  }
  return prefix.endsWith('/') ? prefix.slice(0, -1) : prefix
}
