import type { ResolvableRequest, TenantResolver } from '../contracts/resolver.ts'
import { tenancyError } from '../errors.ts'
import { quoteReceived } from '../util/identifier.ts'

/** Options of {@link subdomainResolver}. */
export interface SubdomainResolverOptions {
  /** The domain below which tenants live, such as `example.com`. Case and one dot at either end do not count. */
  readonly suffix: string
}

const HOST = 'host'
const port = /:\d{0,5}$/
const hostName = /^[A-Za-z0-9._-]+$/
const bracketedIp = /^\[[0-9A-Fa-f:.]+\](?::\d{0,5})?$/
const bareIpv6 = /^[0-9A-Fa-f:.]+$/
const label = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/

/**
 * Reads the tenant from the host: exactly what stands before `.suffix`, so `a.b.example.com` claims `a.b`, which is no
 * identifier and is refused. Port, one trailing dot and case do not count. Another domain, the bare suffix and an IP
 * address say nothing; what is no host, such as a list, is a malformed claim. `X-Forwarded-Host` counts only as far as
 * Fastify's `trustProxy` lets it into `request.host`. A request that names two hosts is a malformed claim.
 * @throws TENANCY_ERR_CONFIG_INVALID when `suffix` is not a domain name in ASCII
 */
export function subdomainResolver({ suffix }: SubdomainResolverOptions): TenantResolver {
  const domain = normalizeSuffix(suffix)
  const ending = `.${domain}`

  return Object.freeze<TenantResolver>({
    name: 'subdomain',
    resolve: function resolveSubdomain(request) {
      const { host } = request
      if (namesTwoHosts(request)) return ''
      if (!host || isIpv6(host)) return undefined
      const received = host.replace(port, '')
      // Before lower-casing, which would turn a look-alike such as the Kelvin sign into an ASCII letter.
      if (!hostName.test(received)) return ''
      const name = dropTrailingDot(received).toLowerCase()
      return name.endsWith(ending) ? name.slice(0, -ending.length) : undefined
    },
  })
}

const authority = /^https?:\/\/([^/?#]*)/i

/**
 * Whether a request names its host twice, of which Node shows one and a proxy may have looked at the other: two Host headers
 * (RFC 9112, 3.2), another one in the target (3.2.2), or beside `:authority` in HTTP/2 (RFC 9113, 8.3.1).
 */
function namesTwoHosts({ headers, originalUrl, raw }: ResolvableRequest): boolean {
  const sent = headers.host
  const inFrame = headers[':authority']
  if (inFrame !== undefined && sent !== undefined && inFrame !== sent) return true
  const inTarget = originalUrl.startsWith('/') ? undefined : authority.exec(originalUrl)?.[1]
  if (inTarget !== undefined && inTarget.toLowerCase() !== String(sent).toLowerCase()) return true
  let hosts = 0
  const names = raw?.rawHeaders ?? []
  for (let at = 0; at < names.length; at += 2) {
    if (names[at]?.length === HOST.length && names[at]?.toLowerCase() === HOST && ++hosts > 1) return true
  }
  return false
}

function isIpv6(host: string): boolean {
  if (host.startsWith('[')) return bracketedIp.test(host)
  return host.indexOf(':') !== host.lastIndexOf(':') && bareIpv6.test(host)
}

function dropTrailingDot(name: string): string {
  return name.endsWith('.') ? name.slice(0, -1) : name
}

function normalizeSuffix(suffix: unknown): string {
  const domain = typeof suffix === 'string' ? dropTrailingDot(suffix.startsWith('.') ? suffix.slice(1) : suffix) : ''
  const labels = domain.split('.')
  // A last label of digits alone is an IPv4 address.
  if (!labels.every((part) => label.test(part)) || /^\d+$/.test(labels.at(-1) ?? '')) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      `subdomainResolver: suffix must be a domain name such as "example.com", without scheme, port or "*" and in ` +
        `ASCII (an international name in its xn-- form); received ${quoteReceived(suffix)}.`,
    ])
  }
  return domain.toLowerCase()
}
