import type { Scope } from '../../contracts/isolation.ts'
import { type StrategyName, strategyNames } from '../../contracts/tenant.ts'
import type { Naming } from '../../sql/naming.ts'

/** Names of the schemas that tenants share. */
export interface SharedSchemas {
  /** Extensions: on every path, nobody but the admin creates there. */
  readonly extensionsSchema: string
  /** Tables of tenants that are told apart by row policies. */
  readonly rlsSchema: string
  /** Tables of tenants that are told apart by a prefix. */
  readonly prefixSchema: string
  /** Column that says whose a row is, where tenants share tables. */
  readonly tenantColumn: string
}

/** What decides where and as whom a tenant's statements run. */
export interface LayoutOptions extends SharedSchemas {
  /** Whether each tenant under `schema` has a role of its own. Default false. */
  readonly tenantRoles?: boolean | undefined
  /** How a name under `schema` finds the tenant's schema: by the path, or because it is written out. Default `search_path`. */
  readonly schemaScoping?: 'search_path' | 'qualified' | undefined
}

/** Where the objects of a scope are on PostgreSQL. */
export interface Layout {
  /** The schema that holds them. */
  readonly schema: string
  /** Whether the schema is this tenant's alone. */
  readonly own: boolean
  /** What qualifies and begins the tenant's names in the text. */
  readonly naming: Naming
  /** Whether names are written into the text, and an unqualified one is nobody's. */
  readonly written: boolean
  /** Where unqualified names are looked up. Never `public`; `pg_temp` last, or a temporary table would shadow the tenant's. */
  readonly searchPath: readonly string[]
  /** The same in migrations. */
  readonly ddlPath: readonly string[]
  /** The tenant's own role, where there is one: the server refuses it everything but its schema. */
  readonly role: string | undefined
}

/** The layout of a scope. */
export function layoutOf(
  { strategy, namespace }: Pick<Scope, 'strategy' | 'namespace'>,
  shared: LayoutOptions,
): Layout {
  const schemas: Record<StrategyName, string> = {
    schema: namespace,
    database: namespace,
    rls: shared.rlsSchema,
    prefix: shared.prefixSchema,
  }
  const schema = schemas[strategy]
  const prefixed = strategy === 'prefix'
  const written = isWritten(strategy, shared)
  const shownPath = sharedPath(shared)
  const ownPath = Object.freeze([schema, ...shownPath])
  return Object.freeze({
    schema,
    own: schema === namespace,
    naming: Object.freeze({ qualifier: Object.freeze([schema]), prefix: prefixed ? `${namespace}__` : '' }),
    written,
    searchPath: written ? shownPath : ownPath,
    // With prefixes the shared schema stays off every path.
    ddlPath: prefixed ? shownPath : ownPath,
    role: strategy === 'schema' && shared.tenantRoles === true ? namespace : undefined,
  })
}

/** Strategies that write the tenant's names into the text: nobody's schema is on the path, and the user's tables must be adopted. */
export function writtenStrategies(options: Pick<LayoutOptions, 'schemaScoping'>): ReadonlySet<StrategyName> {
  return new Set(strategyNames.filter((name) => isWritten(name, options)))
}

/** The path that all tenants share. */
export function sharedPath({ extensionsSchema }: Pick<SharedSchemas, 'extensionsSchema'>): readonly string[] {
  return Object.freeze([extensionsSchema, 'pg_temp'])
}

function isWritten(strategy: StrategyName, { schemaScoping }: Pick<LayoutOptions, 'schemaScoping'>): boolean {
  return strategy === 'prefix' || (strategy === 'schema' && schemaScoping === 'qualified')
}
