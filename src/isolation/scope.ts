import type { Scope, TenantToPlace } from '../contracts/isolation.ts'
import { MAIN_SERVER, type Placement, type StrategyName, type Tenant } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { generateNamespace } from '../util/identifier.ts'
import { checkRowKey } from '../util/row-key.ts'

/**
 * The placement of a new tenant.
 * @throws TENANCY_ERR_STRATEGY_UNSUPPORTED when it asks for another strategy, TENANCY_ERR_TENANT_INVALID
 */
export function placementOf(tenant: TenantToPlace, strategy: StrategyName): Placement {
  if (tenant.strategy !== undefined && tenant.strategy !== strategy) {
    throw tenancyError('TENANCY_ERR_STRATEGY_UNSUPPORTED', [tenant.strategy])
  }
  const { id, server = MAIN_SERVER, rowKey = id } = tenant
  return Object.freeze({ strategy, server, namespace: generateNamespace(id), rowKey: checkRowKey(rowKey) })
}

/**
 * The scope of a tenant by its stored placement, which nothing derives again.
 * @throws TENANCY_ERR_STRATEGY_NOT_CONFIGURED when another strategy placed it
 */
export function scopeOf(
  { id, placement }: Pick<Tenant, 'id' | 'placement'>,
  strategy: StrategyName,
  settings: (placement: Placement) => Readonly<Record<string, string>> = () => ({}),
): Scope {
  if (placement.strategy !== strategy) throw tenancyError('TENANCY_ERR_STRATEGY_NOT_CONFIGURED', [placement.strategy])
  return Object.freeze({
    tenantId: id,
    server: placement.server,
    namespace: placement.namespace,
    strategy,
    settings: Object.freeze(settings(placement)),
    rowKey: placement.rowKey,
  })
}
