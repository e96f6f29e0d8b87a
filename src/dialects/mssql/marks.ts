import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import type { Layout } from './layout.ts'
import { quoteText } from './quote.ts'

type Query = AdminConnection['query']

/** The extended property that says whose something is. */
const PROPERTY = "N'fastify-tenancy'"
const ADD = `exec sys.sp_addextendedproperty @name = ${PROPERTY}, @value = @p0`

/** What the schema of the tables that all tenants use is marked with. */
export const SHARED_MARK = 'shared tables'

/** What is marked as this tenant's alone. */
export function tenantMark({ tenantId }: Scope): string {
  return `tenant ${tenantId}`
}

/** What the schema of a layout is marked with, so that one made by somebody else is never taken for it. */
export function schemaMark(scope: Scope, { own }: Layout): string {
  return own ? tenantMark(scope) : `shared ${scope.strategy}`
}

/** What a schema is marked with: null without a mark, undefined when there is no such schema. */
export async function markOfSchema(query: Query, schema: string): Promise<string | null | undefined> {
  const [found] = await query<{ mark: string | null }>(
    `select (select cast(p.value as nvarchar(200)) from sys.extended_properties p
       where p.class = 3 and p.major_id = s.schema_id and p.name = ${PROPERTY}) as mark
     from sys.schemas s where s.name = @p0`,
    [schema],
  )
  return found?.mark
}

/** What each schema of the database is marked with. */
export function marksOfSchemas(query: Query): Promise<{ name: string; mark: string | null }[]> {
  return query<{ name: string; mark: string | null }>(
    `select s.name, (select cast(p.value as nvarchar(200)) from sys.extended_properties p
       where p.class = 3 and p.major_id = s.schema_id and p.name = ${PROPERTY}) as mark from sys.schemas s`,
  )
}

/** SQL for whether a schema, by the id that `schemaId` tells, is that of the tables that all tenants use. */
export function isSharedSchema(schemaId: string): string {
  return (
    `exists (select 1 from sys.extended_properties x where x.class = 3 and x.major_id = ${schemaId} ` +
    `and x.name = ${PROPERTY} and cast(x.value as nvarchar(200)) = ${quoteText(SHARED_MARK)})`
  )
}

/** What a table is marked with: null without a mark, undefined when there is no such table. */
export async function markOfTable(query: Query, schema: string, table: string): Promise<string | null | undefined> {
  const [found] = await query<{ mark: string | null }>(
    `select (select cast(p.value as nvarchar(200)) from sys.extended_properties p
       where p.class = 1 and p.major_id = t.object_id and p.minor_id = 0 and p.name = ${PROPERTY}) as mark
     from sys.tables t join sys.schemas s on s.schema_id = t.schema_id where s.name = @p0 and t.name = @p1`,
    [schema, table],
  )
  return found?.mark
}

/** What the database of the session is marked with. */
export async function markOfDatabase(query: Query): Promise<string | null> {
  const [found] = await query<{ mark: string | null }>(
    `select cast(value as nvarchar(200)) as mark from sys.extended_properties where class = 0 and name = ${PROPERTY}`,
  )
  return found?.mark ?? null
}

export async function markSchema(query: Query, schema: string, mark: string): Promise<void> {
  await query(`${ADD}, @level0type = N'SCHEMA', @level0name = @p1`, [mark, schema])
}

export async function markTable(query: Query, schema: string, table: string, mark: string): Promise<void> {
  await query(`${ADD}, @level0type = N'SCHEMA', @level0name = @p1, @level1type = N'TABLE', @level1name = @p2`, [
    mark,
    schema,
    table,
  ])
}

/** Marks the database of the session. */
export async function markDatabase(query: Query, mark: string): Promise<void> {
  await query(ADD, [mark])
}
