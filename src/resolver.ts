import type { FastifyRequest } from 'fastify'
import type { TenancyConfig } from './config.ts'
import type { TenantResolver } from './contracts/resolver.ts'
import { chainResolver } from './resolvers/chain.ts'
import { customResolver } from './resolvers/custom.ts'
import { headerResolver } from './resolvers/header.ts'
import { pathResolver } from './resolvers/path.ts'
import { subdomainResolver } from './resolvers/subdomain.ts'

/** The resolver that the configuration describes: one, or an ordered chain. */
export function configuredResolver(config: TenancyConfig): TenantResolver<FastifyRequest> {
  const make: Record<TenancyConfig['resolutionStrategy'][number], () => TenantResolver<FastifyRequest>> = {
    header: () => headerResolver({ name: config.tenantHeaderName }),
    // The configuration refuses these two strategies without their setting.
    subdomain: () => subdomainResolver({ suffix: config.domainSuffix as string }),
    custom: () => customResolver(config.resolver as NonNullable<TenancyConfig['resolver']>),
    path: () => pathResolver({ prefix: config.pathPrefix }),
  }
  const resolvers = config.resolutionStrategy.map((name) => make[name]())
  const [only] = resolvers
  return resolvers.length === 1 && only !== undefined
    ? only
    : chainResolver(resolvers, { agree: config.resolutionMustAgree })
}
