import type { Scope } from '../../contracts/isolation.ts'
import type { StrategyName } from '../../contracts/tenant.ts'
import type { Naming } from '../../sql/naming.ts'

/** Names of what tenants share in the main database. */
export interface SharedSchemas {
  /** Schema of the tables of tenants that are told apart by security policies. */
  readonly rlsSchema: string
  /** Schema of the tables of tenants that are told apart by a prefix. */
  readonly prefixSchema: string
  /** Column that says whose a row is, where tenants share tables. */
  readonly tenantColumn: string
}

/** Where the objects of a scope are on SQL Server. */
export interface Layout {
  /** The database that is this tenant's alone; undefined for the main one, where every connection is. */
  readonly database: string | undefined
  /** The schema that holds them. */
  readonly schema: string
  /** Whether that schema, or its database, is this tenant's alone. */
  readonly own: boolean
  /** What qualifies and begins the tenant's names in its statements. */
  readonly naming: Naming
  /** The same in DDL, which takes no name of a database and so runs inside of it. */
  readonly ddlNaming: Naming
}

/** The layout of a scope. */
export function layoutOf({ strategy, namespace }: Scope, shared: SharedSchemas): Layout {
  const schemas: Record<StrategyName, string> = {
    schema: namespace,
    database: 'dbo',
    rls: shared.rlsSchema,
    prefix: shared.prefixSchema,
  }
  const schema = schemas[strategy]
  const database = strategy === 'database' ? namespace : undefined
  const prefix = strategy === 'prefix' ? `${namespace}__` : ''
  const ddlNaming: Naming = Object.freeze({ qualifier: Object.freeze([schema]), prefix })
  const naming: Naming =
    database === undefined ? ddlNaming : Object.freeze({ qualifier: Object.freeze([database, schema]), prefix })
  return Object.freeze({ database, schema, own: strategy === 'schema' || strategy === 'database', naming, ddlNaming })
}
