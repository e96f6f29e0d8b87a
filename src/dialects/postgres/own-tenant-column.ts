import type { AdminConnection } from '../../contracts/dialect.ts'
import { TENANT_SETTING } from '../../contracts/isolation.ts'
import type { Layout } from './layout.ts'
import { quoteIdentifier, quoteLiteral } from './quote.ts'

/**
 * One schema file may serve tenants that share tables and tenants that do not: a tenant column that is filled from the
 * setting, which no statement of the latter carries, gets the row key of the one tenant as its default.
 */
export async function fillTenantColumn(
  query: AdminConnection['query'],
  { schema, naming }: Layout,
  column: string,
  rowKey: string,
): Promise<void> {
  const tables = await query<{ name: string }>(
    `select c.relname::text as name from pg_catalog.pg_class c
     join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $3 and not a.attisdropped
     join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
     where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1) and c.relkind in ('r', 'p')
       and pg_catalog.starts_with(c.relname::text, $2)
       and pg_catalog.strpos(pg_catalog.pg_get_expr(d.adbin, d.adrelid), $4) > 0`,
    [schema, naming.prefix, column, `current_setting(${quoteLiteral(TENANT_SETTING)}`],
  )
  for (const { name } of tables) {
    const table = `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
    await query(`alter table ${table} alter ${quoteIdentifier(column)} set default ${quoteLiteral(rowKey)}`)
  }
}
