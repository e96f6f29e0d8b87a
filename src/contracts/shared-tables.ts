import type { DatabaseServer } from './dialect.ts'
import type { Scope } from './isolation.ts'
import type { StrategyName } from './tenant.ts'

/** Tables that all tenants use, as the configuration names them. */
export interface SharedTables {
  /** The schema that holds them, or what stands in for one. */
  readonly schema: string
  readonly names: readonly string[]
  /** Those of them that tenants may write; the others they read. */
  readonly writable: readonly string[]
  /** The column that says whose a row is: no shared table may have it. */
  readonly tenantColumn: string
}

/** Where a server has the tables that all tenants use: a namespace that no tenant has, migrated once. */
export interface SharedNamespace extends Pick<DatabaseServer, 'inNamespace' | 'parseDdl'> {
  /** Stands for it where tenants have a scope. */
  readonly scope: Scope
  /** Strategies whose tenants reach it. */
  readonly reach: ReadonlySet<StrategyName>
  /** What Drizzle writes before the name of such a table. */
  readonly qualifier: string
}
