import type { AdminConnection } from '../../contracts/dialect.ts'

/**
 * Asks the serving login what it reaches of the registry of tenants. The right answer is: nothing. What it has no right on it
 * is not shown, nor what is not made yet.
 * @returns one sentence, or none
 */
export async function registryBreaches(query: AdminConnection['query'], schema: string): Promise<readonly string[]> {
  const rows = await query<{ name: string }>(
    `select top (1) s.name as name from sys.objects o join sys.schemas s on s.schema_id = o.schema_id
     where s.name = @p0 and o.type = 'U' and 1 in (
       has_perms_by_name(quotename(s.name) + N'.' + quotename(o.name), N'OBJECT', N'SELECT'),
       has_perms_by_name(quotename(s.name) + N'.' + quotename(o.name), N'OBJECT', N'INSERT'),
       has_perms_by_name(quotename(s.name) + N'.' + quotename(o.name), N'OBJECT', N'UPDATE'),
       has_perms_by_name(quotename(s.name) + N'.' + quotename(o.name), N'OBJECT', N'DELETE'))`,
    [schema],
  )
  return rows.map(({ name }) => `it has rights in the schema ${name}, where the registry of tenants is`)
}
