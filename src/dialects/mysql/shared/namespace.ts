import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { SharedNamespace, SharedTables } from '../../../contracts/shared-tables.ts'
import { textScoped } from '../capabilities.ts'
import type { Layout } from '../layout.ts'
import { openPlace } from '../namespace-session.ts'
import { parseOne } from '../parse-ddl.ts'
import { sealShared } from './rights.ts'

type Query = AdminConnection['query']

/** What {@link sharedNamespace} needs of the server. */
export interface SharedNamespaceOptions {
  /** One admin connection, alone with a namespace. */
  alone<T>(scope: Scope, work: (query: Query) => Promise<T>): Promise<T>
  readonly asServing: Query
  servingAccount(): string | undefined
}

const MARK = 'fastify-tenancy shared tables'

/** The database of the tables that all tenants use. A name with its database in front works from everywhere. */
export function sharedNamespace(
  shared: SharedTables,
  { alone, asServing, servingAccount }: SharedNamespaceOptions,
): SharedNamespace {
  const { schema } = shared
  const naming = Object.freeze({ qualifier: Object.freeze([schema]), prefix: '' })
  const layout: Layout = Object.freeze({ database: schema, own: true, naming })
  const scope: Scope = { tenantId: '', server: 'main', namespace: schema, strategy: 'schema', settings: {} }
  return Object.freeze({
    scope: Object.freeze(scope),
    reach: textScoped,
    qualifier: schema,
    inNamespace: (_scope, work) =>
      alone(scope, async (query) => {
        const { session, undo } = openPlace(query, {
          layout,
          mark: MARK,
          name: schema,
          async grant() {},
          seal: () => sealShared({ query, layout, shared, account: servingAccount(), asServing }),
        })
        try {
          return await work(session)
        } catch (error) {
          await undo().catch(() => {})
          throw error
        }
      }),
    parseDdl(statement) {
      const ddl = parseOne(statement)
      return Object.freeze({ render: () => ddl.render(naming) })
    },
  } satisfies SharedNamespace)
}
