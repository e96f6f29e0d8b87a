import type { Capabilities } from '../../contracts/isolation.ts'
import type { StrategyName } from '../../contracts/tenant.ts'

/** What MySQL and MariaDB carry: a schema is a database there, and there are no row policies. */
export const capabilities: Capabilities = Object.freeze({
  schema: 'schema',
  database: 'database',
  prefix: 'prefix',
})

/** All of them: there is no search path, and `USE` would stay on a connection that the next tenant gets. */
export const textScoped: ReadonlySet<StrategyName> = new Set(['schema', 'database', 'prefix'])
