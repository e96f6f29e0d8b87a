import type { Scope } from '../../contracts/isolation.ts'
import { tenancyError } from '../../errors.ts'
import type { Naming } from '../../sql/naming.ts'

/** Where the objects of a scope are on MySQL. */
export interface Layout {
  /** The database that holds them. */
  readonly database: string
  /** Whether that database is this tenant's alone. */
  readonly own: boolean
  /** What qualifies and begins the tenant's names in the text. */
  readonly naming: Naming
}

/**
 * The layout of a scope; `shared` is the database of prefixed tables.
 * @throws TENANCY_ERR_CONFIG_INVALID when prefixed tables have no database
 */
export function layoutOf({ strategy, namespace }: Scope, shared: string | undefined): Layout {
  const own = strategy !== 'prefix'
  const database = own ? namespace : shared
  if (database === undefined) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      '- databaseUrl: prefixed tables need a database. Name it in the path of the URL: mysql://…/app.',
    ])
  }
  const naming = Object.freeze({
    qualifier: Object.freeze([database]),
    prefix: own ? '' : `${namespace}__`,
  })
  return Object.freeze({ database, own, naming })
}
