import type { Capabilities } from '../../contracts/isolation.ts'
import type { StrategyName } from '../../contracts/tenant.ts'

/** What PostgreSQL carries whatever the driver. */
export const capabilities: Capabilities = Object.freeze({ schema: 'schema', rls: 'rls', prefix: 'prefix' })

/** The search path and settings do the rest. */
export const textScoped: ReadonlySet<StrategyName> = new Set(['prefix'])
