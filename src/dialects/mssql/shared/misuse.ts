import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import { carriedOn } from '../../../sql/ddl/shared-names.ts'
import { prefixedName } from '../../../sql/naming.ts'
import type { Layout } from '../layout.ts'
import { objectsOf } from '../objects.ts'
import { mssqlProfile } from '../profile.ts'

type Query = AdminConnection['query']

/** A foreign key to a table that all tenants use, by which a change of that one goes on. */
interface ChangingKey {
  readonly key: string
  readonly schema: string
  readonly child: string
  readonly parent: string
}

/**
 * Makes statements that refer to shared tables come one after the other: those lock these tables until their transaction
 * ends, and two that lock several would wait for each other.
 */
export async function lockReferences(query: Query, statement: string, { schema }: SharedTables): Promise<void> {
  if (!statement.includes(`${mssqlProfile.quoteName(schema)}.`)) return
  const [answer] = await query<{ got: number }>(
    `declare @got int; exec @got = sys.sp_getapplock @Resource = N'fastify-tenancy:references', @LockMode = N'Exclusive',
       @LockOwner = N'Transaction', @LockTimeout = -1; select @got as got`,
  )
  if (answer === undefined || answer.got < 0) throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
}

/**
 * Refuses what a tenant must not have: an object with the name of a shared table, such as one from before it was shared,
 * and a foreign key through which one tenant could change the rows of another.
 * @throws TENANCY_ERR_SHARED_TABLES
 */
export async function refuseMisuse(query: Query, layout: Layout, shared: SharedTables): Promise<void> {
  const own = new Set((await objectsOf(query, layout)).map(({ name }) => name.toLowerCase()))
  const nameOf = (name: string) => prefixedName(layout.naming.prefix, name, mssqlProfile.maxNameBytes).toLowerCase()
  const shadow = shared.names.find((name) => own.has(nameOf(name)))
  if (shadow !== undefined) {
    throw tenancyError('TENANCY_ERR_SHARED_TABLES', [`${shadow} is also made by the migrations of tenants`])
  }
  await refuseChangingKeys(
    query,
    shared,
    ({ schema, child }) => schema === layout.schema && child.startsWith(layout.naming.prefix),
  )
}

/**
 * Refuses a foreign key to a writable table by which a change goes on, among those that `concerns` says.
 * @throws TENANCY_ERR_SHARED_TABLES
 */
export async function refuseChangingKeys(
  query: Query,
  { schema, writable }: SharedTables,
  concerns: (key: ChangingKey) => boolean,
): Promise<void> {
  if (writable.length === 0) return
  const keys = await query<ChangingKey>(
    `select k.name as [key], s.name as [schema], c.name as child, p.name as parent
     from sys.foreign_keys k join sys.tables c on c.object_id = k.parent_object_id
     join sys.schemas s on s.schema_id = c.schema_id join sys.tables p on p.object_id = k.referenced_object_id
     where p.schema_id = schema_id(@p0) and (k.delete_referential_action <> 0 or k.update_referential_action <> 0)`,
    [schema],
  )
  const found = keys.find((key) => writable.includes(key.parent) && concerns(key))
  if (found === undefined) return
  throw tenancyError('TENANCY_ERR_SHARED_TABLES', [`the foreign key ${found.key}: ${carriedOn(found.parent)}`])
}
