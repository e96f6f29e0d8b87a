import { type IsolationStrategy, TENANT_SETTING } from '../contracts/isolation.ts'
import { checkRowKey } from '../util/row-key.ts'
import { placementOf, scopeOf } from './scope.ts'

/** All tenants in the same tables, told apart by a column that the database itself checks in every statement. */
export function rlsStrategy(): IsolationStrategy {
  return Object.freeze({
    name: 'rls',
    needs: Object.freeze(['rls'] as const),

    place: (tenant) => placementOf(tenant, 'rls'),

    // A registry of somebody else's may have lost it: a setting that is empty or odd must not get as far as the database.
    scope: (tenant) => scopeOf(tenant, 'rls', ({ rowKey }) => ({ [TENANT_SETTING]: checkRowKey(rowKey) })),
  } satisfies IsolationStrategy)
}
