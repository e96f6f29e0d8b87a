import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { SharedNamespace, SharedTables } from '../../../contracts/shared-tables.ts'
import type { StrategyName } from '../../../contracts/tenant.ts'
import type { Layout } from '../layout.ts'
import { SHARED_MARK } from '../marks.ts'
import { openPlace } from '../namespace-session.ts'
import { parseBatch } from '../parse-ddl.ts'
import { sealShared } from './rights.ts'

type Query = AdminConnection['query']

/** What {@link sharedNamespace} needs of the server. */
export interface SharedNamespaceOptions {
  /** One transaction of the admin login, alone with a namespace. */
  alone<T>(scope: Scope, work: (query: Query) => Promise<T>): Promise<T>
  servingUser(): string | undefined
}

/** No foreign key leads out of a tenant's own database. */
const REACH: ReadonlySet<StrategyName> = new Set(['schema', 'rls', 'prefix'])

/** The schema of the tables that all tenants use, in the main database. */
export function sharedNamespace(shared: SharedTables, { alone, servingUser }: SharedNamespaceOptions): SharedNamespace {
  const { schema } = shared
  const naming = Object.freeze({ qualifier: Object.freeze([schema]), prefix: '' })
  const layout: Layout = Object.freeze({ database: undefined, schema, own: true, naming, ddlNaming: naming })
  const scope: Scope = { tenantId: '', server: 'main', namespace: schema, strategy: 'schema', settings: {} }
  return Object.freeze({
    scope: Object.freeze(scope),
    reach: REACH,
    qualifier: schema,
    inNamespace: (_scope, work) =>
      alone(scope, (query) =>
        work(
          openPlace(query, {
            layout,
            mark: SHARED_MARK,
            ledgerMark: SHARED_MARK,
            name: schema,
            async before() {},
            seal: () => sealShared({ query, layout, shared, user: servingUser() }),
          }),
        ),
      ),
    parseDdl(statement) {
      const ddl = parseBatch(statement)
      return Object.freeze({ render: () => ddl.render(naming) })
    },
  } satisfies SharedNamespace)
}
