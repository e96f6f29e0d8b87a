import { type Scope, TENANT_SETTING } from '../../contracts/isolation.ts'
import type { StrategyName } from '../../contracts/tenant.ts'
import { tenancyError } from '../../errors.ts'
import type { Naming } from '../../sql/naming.ts'
import { quoteReceived } from '../../util/identifier.ts'

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

/** The layout of a scope. @throws TENANCY_ERR_TENANT_INVALID for a row key that may be another tenant's here */
export function layoutOf({ strategy, namespace, settings }: Scope, shared: SharedSchemas): Layout {
  if (strategy === 'rls') assertRowKey(settings[TENANT_SETTING])
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

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * Collations take `Acme` and `acme`, `ss` and `ß`, or `x` and `x ` for one text, and the tenant of the session ends after 36
 * characters. Of UUIDs in lower case no two are ever taken for one.
 */
function assertRowKey(key: string | undefined): void {
  if (key === undefined || UUID.test(key)) return
  throw tenancyError('TENANCY_ERR_TENANT_INVALID', [
    `its row key is ${quoteReceived(key)}, but on SQL Server it must be a UUID in lower case: its collations take different texts for the same.`,
  ])
}
