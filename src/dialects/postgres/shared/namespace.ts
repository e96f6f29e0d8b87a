import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedNamespace, SharedTables } from '../../../contracts/shared-tables.ts'
import type { StrategyName } from '../../../contracts/tenant.ts'
import type { Layout } from '../layout.ts'
import { type NamespaceRights, openPlace } from '../namespace-session.ts'
import { quoteIdentifier } from '../quote.ts'
import { rewriteDdl } from '../rewrite-ddl.ts'
import { SHARED_MARK } from './misuse.ts'
import { sealShared } from './rights.ts'

/** A tenant's own database cannot see tables of another one. */
const REACH: ReadonlySet<StrategyName> = new Set(['schema', 'rls', 'prefix'])

/** The schema of the tables that all tenants use. It is on nobody's search path: a name that is missing finds nothing. */
export function sharedNamespace(
  shared: SharedTables,
  transaction: AdminConnection['transaction'],
  rights: () => NamespaceRights,
): SharedNamespace {
  const { schema } = shared
  return Object.freeze({
    scope: Object.freeze({ tenantId: '', server: 'main', namespace: schema, strategy: 'schema', settings: {} }),
    reach: REACH,
    qualifier: schema,
    inNamespace: (_scope, work) =>
      transaction(async (query) => {
        await query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`fastify-tenancy:${schema}`])
        const now = rights()
        return work(
          await openPlace(query, now, {
            layout: layoutOf(schema, now),
            mark: SHARED_MARK,
            ledgerMark: SHARED_MARK,
            grants: {
              later: (name, role) => [`grant usage on schema ${quoteIdentifier(name)} to ${quoteIdentifier(role)}`],
              present: {},
            },
            seal: () => sealShared(query, shared, now.servingRole),
          }),
        )
      }),
    parseDdl(statement) {
      const text = rewriteDdl(statement)
      return Object.freeze({ render: () => text })
    },
  } satisfies SharedNamespace)
}

function layoutOf(schema: string, { shared: { extensionsSchema } }: NamespaceRights): Layout {
  const path = Object.freeze([schema, extensionsSchema, 'pg_temp'])
  return Object.freeze({
    schema,
    own: true,
    naming: Object.freeze({ qualifier: Object.freeze([schema]), prefix: '' }),
    written: false,
    searchPath: path,
    ddlPath: path,
    role: undefined,
  })
}
