import type { ResolvableRequest, TenantResolver } from '../contracts/resolver.ts'
import { tenancyError } from '../errors.ts'
import { whenKnown } from './when-known.ts'

/** Names the tenant a request asks for; nothing (`undefined` or `null`) if it names none. What it throws is passed on. */
export type CustomResolve<TRequest extends ResolvableRequest = ResolvableRequest> = (
  request: TRequest,
) => string | null | undefined | PromiseLike<string | null | undefined>

/**
 * Makes a resolver of your own function. What comes back is checked like every claim: anything that is neither a string
 * nor nothing is a malformed claim.
 * @throws TENANCY_ERR_CONFIG_INVALID when `resolve` is not a function
 */
export function customResolver<TRequest extends ResolvableRequest = ResolvableRequest>(
  resolve: CustomResolve<TRequest>,
): TenantResolver<TRequest> {
  if (typeof resolve !== 'function') {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      `customResolver: expected a function, received ${typeof resolve}.`,
    ])
  }

  return Object.freeze<TenantResolver<TRequest>>({
    name: 'custom',
    resolve: function resolveCustom(request) {
      return whenKnown<unknown, string | undefined>(resolve(request), toClaim)
    },
  })
}

function toClaim(answer: unknown): string | undefined {
  if (answer === undefined || answer === null) return undefined
  return typeof answer === 'string' ? answer : ''
}
