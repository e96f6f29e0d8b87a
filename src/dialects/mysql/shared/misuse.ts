import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import { carriedOn } from '../../../sql/ddl/shared-names.ts'
import type { Layout } from '../layout.ts'
import { objectsOf } from '../objects.ts'

type Query = AdminConnection['query']

interface Key {
  readonly key: string
  readonly database: string
  readonly child: string
  readonly parent: string
}

const CHANGES = `('CASCADE', 'SET NULL', 'SET DEFAULT')`

/**
 * Refuses what a tenant must not have: an object with the name of a shared table, such as one from before it was shared,
 * and a foreign key through which one tenant could change the rows of another.
 * @throws TENANCY_ERR_SHARED_TABLES
 */
export async function refuseMisuse(query: Query, layout: Layout, shared: SharedTables): Promise<void> {
  const own = new Set((await objectsOf(query, layout)).map(({ name }) => name.toLowerCase()))
  const shadow = shared.names.find((name) => own.has((layout.naming.prefix + name).toLowerCase()))
  if (shadow !== undefined) {
    throw tenancyError('TENANCY_ERR_SHARED_TABLES', [`${shadow} is also made by the migrations of tenants`])
  }
  await refuseChangingKeys(
    query,
    shared,
    ({ database, child }) => database === layout.database && child.startsWith(layout.naming.prefix),
  )
}

/**
 * Refuses a foreign key to a writable table by which a change goes on, among those that `concerns` says.
 * @throws TENANCY_ERR_SHARED_TABLES
 */
export async function refuseChangingKeys(
  query: Query,
  { schema, writable }: SharedTables,
  concerns: (key: Key) => boolean,
): Promise<void> {
  if (writable.length === 0) return
  const keys = await query<Key>(
    `select constraint_name as \`key\`, constraint_schema as \`database\`, table_name as child, referenced_table_name as parent
     from information_schema.referential_constraints
     where unique_constraint_schema = ? and (delete_rule in ${CHANGES} or update_rule in ${CHANGES})`,
    [schema],
  )
  const found = keys.find((key) => writable.includes(key.parent) && concerns(key))
  if (found === undefined) return
  throw tenancyError('TENANCY_ERR_SHARED_TABLES', [`the foreign key ${found.key}: ${carriedOn(found.parent)}`])
}
