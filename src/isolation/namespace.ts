import type { IsolationStrategy } from '../contracts/isolation.ts'
import type { StrategyName } from '../contracts/tenant.ts'
import { placementOf, scopeOf } from './scope.ts'

/**
 * The strategies whose tenants have names of their own: one schema, one database, or one prefix each. All that tells them
 * apart is what the dialect makes of the namespace.
 */
export function namespaceStrategy(name: Exclude<StrategyName, 'rls'>): IsolationStrategy {
  return Object.freeze({
    name,
    needs: Object.freeze([name]),

    place: (tenant) => placementOf(tenant, name),

    // Nothing here depends on a setting, and each one costs a few percent of every statement.
    scope: (tenant) => scopeOf(tenant, name),
  } satisfies IsolationStrategy)
}
