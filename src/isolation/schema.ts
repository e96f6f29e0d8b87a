import type { IsolationStrategy, Scope } from '../contracts/isolation.ts'
import type { Placement, Tenant } from '../contracts/tenant.ts'
import { generateNamespace } from '../util/identifier.ts'

/** Options of {@link schemaStrategy}. */
export interface SchemaStrategyOptions {
  /** Schema of shared extensions, looked up after the tenant's own. The serving role cannot create there. */
  readonly extensionsSchema: string
}

/** One schema per tenant. `public` is never on the path, so a missing table is an error and not somebody else's. */
export function schemaStrategy({ extensionsSchema }: SchemaStrategyOptions): IsolationStrategy {
  return Object.freeze({
    name: 'schema',
    needs: ['schemas', 'searchPath', 'transactionalDdl'],

    place(tenantId: string): Placement {
      return { strategy: 'schema', server: 'main', namespace: generateNamespace(tenantId) }
    },

    scope({ id, placement }: Pick<Tenant, 'id' | 'placement'>): Scope {
      return Object.freeze({
        tenantId: id,
        server: placement.server,
        namespace: placement.namespace,
        // pg_temp must be named, and last: unnamed it comes first, and a temporary table would shadow the tenant's.
        searchPath: Object.freeze([placement.namespace, extensionsSchema, 'pg_temp']),
        // Nothing here depends on a setting, and each one costs a few percent of every statement.
        settings: Object.freeze({}),
      })
    },
  } satisfies IsolationStrategy)
}
