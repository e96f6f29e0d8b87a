import { type IsolationStrategy, TENANT_SETTING } from '../contracts/isolation.ts'
import { placementOf, scopeOf } from './scope.ts'

/** All tenants in the same tables, told apart by a column that the database itself checks in every statement. */
export function rlsStrategy(): IsolationStrategy {
  return Object.freeze({
    name: 'rls',
    needs: Object.freeze(['rls'] as const),

    place: (tenant) => placementOf(tenant, 'rls'),

    scope: (tenant) => scopeOf(tenant, 'rls', { [TENANT_SETTING]: tenant.id }),
  } satisfies IsolationStrategy)
}
