import type { ResolvableRequest, TenantResolver } from '../contracts/resolver.ts'
import { tenancyError } from '../errors.ts'
import { whenKnown } from './when-known.ts'

/** Options of {@link chainResolver}. */
export interface ChainResolverOptions {
  /** All resolvers must name the same tenant, else the claim is refused. Default `false`: the first that says something. */
  readonly agree?: boolean
}

type Claim = string | undefined

const REFUSED = ''

/**
 * Asks several resolvers, in order and one at a time. The first claim wins, also a malformed one: it is refused, the rest
 * are not asked. With `agree` every resolver must make the same claim, such as header = JWT; if all say nothing, so does
 * the chain. Answers synchronously as long as its resolvers do. What a resolver throws is passed on.
 * @throws TENANCY_ERR_CONFIG_INVALID when there is no resolver
 */
export function chainResolver<TRequest extends ResolvableRequest = ResolvableRequest>(
  resolvers: readonly TenantResolver<TRequest>[],
  { agree = false }: ChainResolverOptions = {},
): TenantResolver<TRequest> {
  if (resolvers.length === 0) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', ['chainResolver: give it at least one resolver, received none.'])
  }
  const [first, ...others] = resolvers as readonly [TenantResolver<TRequest>, ...TenantResolver<TRequest>[]]

  return Object.freeze<TenantResolver<TRequest>>({
    name: 'chain',
    resolve: function resolveChain(request) {
      const follow = agree ? agreedClaim : firstClaim
      return whenKnown(first.resolve(request), (claim) => follow(claim, others, request))
    },
  })
}

function firstClaim<TRequest extends ResolvableRequest>(
  claim: Claim,
  [next, ...others]: readonly TenantResolver<TRequest>[],
  request: TRequest,
): Claim | Promise<Claim> {
  if (claim !== undefined || next === undefined) return claim
  return whenKnown(next.resolve(request), (answer) => firstClaim(answer, others, request))
}

// One at a time: a promise left behind by an early refusal could reject with nobody listening.
function agreedClaim<TRequest extends ResolvableRequest>(
  claim: Claim,
  [next, ...others]: readonly TenantResolver<TRequest>[],
  request: TRequest,
): Claim | Promise<Claim> {
  if (next === undefined) return claim
  return whenKnown(next.resolve(request), (answer) =>
    answer === claim ? agreedClaim(claim, others, request) : REFUSED,
  )
}
