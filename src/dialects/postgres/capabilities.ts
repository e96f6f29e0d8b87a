import type { Capabilities } from '../../contracts/isolation.ts'
import type { StrategyName } from '../../contracts/tenant.ts'

/** What PostgreSQL carries whatever the driver. */
export const capabilities: Capabilities = Object.freeze({ schema: 'schema', rls: 'rls', prefix: 'prefix' })

/** What a server carries besides: the embedded one is a single database. */
export const serverCapabilities: Capabilities = Object.freeze({ ...capabilities, database: 'database' })

/** The search path and settings do the rest. */
export const textScoped: ReadonlySet<StrategyName> = new Set(['prefix'])
