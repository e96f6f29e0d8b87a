import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import { carriedOn } from '../../../sql/ddl/shared-names.ts'
import { type Layout, sharedNaming } from '../layout.ts'
import { type NamespaceTransaction, objectsOf } from '../namespace-session.ts'

type Query = NamespaceTransaction['query']

const CHANGES = `('CASCADE', 'SET NULL', 'SET DEFAULT')`

/**
 * Refuses what a tenant must not have: an object with the name of a shared table, and a foreign key through which one
 * tenant could change the rows of another.
 * @throws TENANCY_ERR_SHARED_TABLES
 */
export async function refuseMisuse(query: Query, layout: Layout, shared: SharedTables): Promise<void> {
  const { prefix } = layout.naming
  const own = new Set((await objectsOf(query, layout)).map(({ name }) => name.toLowerCase()))
  const shadow = shared.names.find((name) => own.has((prefix + name).toLowerCase()))
  if (shadow !== undefined) {
    throw tenancyError('TENANCY_ERR_SHARED_TABLES', [`${shadow} is also made by the migrations of tenants`])
  }
  await refuseChangingKeys(query, shared, prefix)
}

/**
 * Refuses foreign keys of tables whose names begin with `prefix` to a writable table by which a change goes on.
 * @throws TENANCY_ERR_SHARED_TABLES
 */
export async function refuseChangingKeys(
  query: Query,
  { schema, writable }: SharedTables,
  prefix: string,
): Promise<void> {
  if (writable.length === 0) return
  const shared = sharedNaming(schema).prefix
  const keys = await query<{ child: string; parent: string }>(
    `select m.name as child, f."table" as parent from sqlite_schema m join pragma_foreign_key_list(m.name) f
     where m.type = 'table' and lower(substr(m.name, 1, ?)) = ? and lower(substr(f."table", 1, ?)) = ?
       and (f.on_delete in ${CHANGES} or f.on_update in ${CHANGES})`,
    [prefix.length, prefix, shared.length, shared],
  )
  const named = (name: string) => writable.find((one) => (shared + one).toLowerCase() === name.toLowerCase())
  // Among themselves the writable tables may.
  const found = keys.find(({ child, parent }) => named(parent) !== undefined && named(child) === undefined)
  if (found === undefined) return
  throw tenancyError('TENANCY_ERR_SHARED_TABLES', [`a foreign key: ${carriedOn(named(found.parent) ?? '')}`])
}
