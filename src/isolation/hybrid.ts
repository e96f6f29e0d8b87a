import type { IsolationStrategy, TenantToPlace } from '../contracts/isolation.ts'
import type { StrategyName } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'

/** Options of {@link hybridStrategy}. */
export interface HybridStrategyOptions {
  /** The strategies that tenants can have, at least two. */
  readonly strategies: readonly IsolationStrategy[]
  /** Chooses the one of a new tenant that asks for none. */
  readonly choose: (tenant: TenantToPlace) => string
}

/**
 * Several strategies at once, one per tenant. The choice is made at registration and stored in the placement, so that a
 * rule that changes later moves nobody.
 */
export function hybridStrategy({ strategies, choose }: HybridStrategyOptions): IsolationStrategy {
  const byName = new Map<string, IsolationStrategy>(strategies.map((strategy) => [strategy.name, strategy]))
  type Unknown = 'TENANCY_ERR_STRATEGY_UNSUPPORTED' | 'TENANCY_ERR_STRATEGY_NOT_CONFIGURED'
  const named = (name: string, code: Unknown): IsolationStrategy => {
    const strategy = byName.get(name)
    if (strategy === undefined) throw tenancyError(code, [name])
    return strategy
  }
  return Object.freeze({
    name: 'hybrid',
    needs: Object.freeze([...byName.keys()] as StrategyName[]),
    place: (tenant) => named(tenant.strategy ?? choose(tenant), 'TENANCY_ERR_STRATEGY_UNSUPPORTED').place(tenant),
    scope: (tenant) => named(tenant.placement.strategy, 'TENANCY_ERR_STRATEGY_NOT_CONFIGURED').scope(tenant),
  } satisfies IsolationStrategy)
}
