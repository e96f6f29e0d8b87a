import type { Capabilities } from '../../contracts/isolation.ts'
import type { StrategyName } from '../../contracts/tenant.ts'

/** A file has no schemas: prefixes stand in for them. No row policies either. */
export const capabilities: Capabilities = Object.freeze({ database: 'database', prefix: 'prefix', schema: 'prefix' })

/** A database of one's own is a file of one's own; nothing need be written into the text there. */
export const textScoped: ReadonlySet<StrategyName> = new Set(['prefix'])
