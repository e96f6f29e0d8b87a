import type { Scope } from '../../contracts/isolation.ts'
import { tenancyError } from '../../errors.ts'
import type { Naming } from '../../sql/naming.ts'

/** Where the objects of a scope are on SQLite. */
export interface Layout {
  /** Whether they are in a file of their own; else in the main file, told apart by a prefix. */
  readonly own: boolean
  /** What begins the tenant's names in the text. */
  readonly naming: Naming
}

/** What a namespace looks like. It becomes part of names, and of the path of a file. */
const NAMESPACE = /^t[0-9a-z]{25}$/

/** The layout of a scope. @throws TENANCY_ERR_TENANT_INVALID for a namespace that was not generated here */
export function layoutOf({ strategy, namespace }: Scope): Layout {
  if (!NAMESPACE.test(namespace)) throw tenancyError('TENANCY_ERR_TENANT_INVALID', ['its namespace was not generated'])
  const own = strategy === 'database'
  return Object.freeze({ own, naming: Object.freeze({ qualifier: [], prefix: own ? '' : `${namespace}__` }) })
}

/** What the names of tables look like that all tenants use. No namespace of a tenant begins like this. */
export function sharedNaming(schema: string): Naming {
  return Object.freeze({ qualifier: [], prefix: `${schema}__` })
}
