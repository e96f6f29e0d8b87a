import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import { carriedOn } from '../../../sql/ddl/shared-names.ts'
import { prefixedName } from '../../../sql/naming.ts'
import type { Layout } from '../layout.ts'
import { postgresProfile } from '../profile.ts'

type Query = AdminConnection['query']

/** What the schema of shared tables is marked with. */
export const SHARED_MARK = 'fastify-tenancy shared tables'

/**
 * Foreign keys (`k`) to a shared table by which a change of one tenant would change rows of others: the keys are carried
 * out with the rights of the tables' owner, past every policy. `$role` of the serving role; a null writes everything.
 */
export const changesOthers = (role: string): string =>
  `(k.confdeltype in ('c', 'n', 'd') or k.confupdtype in ('c', 'n', 'd')) and coalesce(
     pg_catalog.has_table_privilege(${role}::name, k.confrelid, 'DELETE')
     or pg_catalog.has_any_column_privilege(${role}::name, k.confrelid, 'UPDATE'), true)`

/**
 * Refuses what a tenant's migrations must not leave: an object with the name of a shared table, which plain SQL would
 * find in its place, and a foreign key through which one tenant could change the rows of another.
 * @throws TENANCY_ERR_SHARED_TABLES
 */
export async function refuseMisuse(
  query: Query,
  { schema, naming }: Layout,
  shared: SharedTables,
  servingRole: string | undefined,
): Promise<void> {
  const own = shared.names.map((name) => prefixedName(naming.prefix, name, postgresProfile.maxNameBytes))
  const [shadow] = await query<{ name: string }>(
    `select c.relname::text as name from pg_catalog.pg_class c
     where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1) and c.relname = any ($2::text[])`,
    [schema, own],
  )
  if (shadow !== undefined) {
    const name = shared.names[own.indexOf(shadow.name)]
    throw tenancyError('TENANCY_ERR_SHARED_TABLES', [`${name} is also made by the migrations of tenants`])
  }
  const [key] = await query<{ key: string; parent: string }>(
    `select k.conname::text as key, parent.relname::text as parent from pg_catalog.pg_constraint k
     join pg_catalog.pg_class child on child.oid = k.conrelid join pg_catalog.pg_class parent on parent.oid = k.confrelid
     join pg_catalog.pg_namespace n on n.oid = parent.relnamespace
     where k.contype = 'f' and child.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
       and n.nspname = $2 and ${changesOthers('$3')}`,
    [schema, shared.schema, servingRole ?? null],
  )
  if (key !== undefined) throw changingKey(key.key, key.parent)
}

/** A foreign key to a table that tenants write must not pass the change on. */
export function changingKey(key: string, parent: string): Error {
  return tenancyError('TENANCY_ERR_SHARED_TABLES', [`the foreign key ${key}: ${carriedOn(parent)}`])
}
