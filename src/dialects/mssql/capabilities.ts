import type { Capabilities } from '../../contracts/isolation.ts'
import type { StrategyName } from '../../contracts/tenant.ts'

/** What SQL Server carries: everything. */
export const capabilities: Capabilities = Object.freeze({
  schema: 'schema',
  rls: 'rls',
  database: 'database',
  prefix: 'prefix',
})

/**
 * All of them: there is no search path, and `USE` would stay on a connection that the next tenant gets. Shared tables too,
 * so that an unqualified name is nobody's.
 */
export const textScoped: ReadonlySet<StrategyName> = new Set(['schema', 'rls', 'database', 'prefix'])
