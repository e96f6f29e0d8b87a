import type { Capabilities } from '../../contracts/isolation.ts'
import type { StrategyName } from '../../contracts/tenant.ts'

/** What PostgreSQL carries whatever the driver. */
export const capabilities: Capabilities = Object.freeze({ schema: 'schema', rls: 'rls', prefix: 'prefix' })

/** Strategies of which a namespace that exists can become a tenant's. */
export const adoptedStrategies: ReadonlySet<StrategyName> = new Set(['schema'])

/** What a server carries besides: the embedded one is a single database. */
export const serverCapabilities: Capabilities = Object.freeze({ ...capabilities, database: 'database' })
