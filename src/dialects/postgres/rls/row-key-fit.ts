import type { AdminConnection } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { quoteReceived } from '../../../util/identifier.ts'
import type { SharedSchema } from './catalogue.ts'

/** SQLSTATEs of a value that its type cannot hold. */
const DATA_EXCEPTION = /^22/

/**
 * Checks that the tenant column of every table can hold the row key of a tenant, and holds it as it is written: a key that
 * is cut or put in another form would not be found by comparing the two. Asked when a tenant is made or migrated, so that
 * nobody finds out at the first request.
 * @throws TENANCY_ERR_TENANT_INVALID
 */
export async function assertRowKeyFits(query: AdminConnection['query'], at: SharedSchema, key: string): Promise<void> {
  for (const { type, table } of await tenantTypes(query, at)) {
    const written = await asWritten(query, type, key)
    if (written === key) continue
    const outcome = written === undefined ? 'cannot hold it' : `would hold ${quoteReceived(written)}`
    throw tenancyError('TENANCY_ERR_TENANT_INVALID', [
      `its row key is ${quoteReceived(key)}, but the column ${at.column} of the table ${table} is ${type} and ${outcome}. Register it with the \`rowKey\` that its rows have.`,
    ])
  }
}

/** The types of tenant columns, with their lengths, and a table for each. */
function tenantTypes(query: AdminConnection['query'], { schema, column, internal }: SharedSchema) {
  return query<{ type: string; table: string }>(
    `select pg_catalog.format_type(a.atttypid, a.atttypmod) as type, min(c.relname::text) as table
     from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $2 and not a.attisdropped
     where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1) and c.relkind in ('r', 'p') and c.relname::text <> all ($3::text[])
     group by 1 order by 1`,
    [schema, column, internal],
  )
}

/** The key after a passage through the type; undefined when it is none of its values. */
async function asWritten(query: AdminConnection['query'], type: string, key: string): Promise<string | undefined> {
  try {
    return (await query<{ written: string }>(`select ($1::text)::${type}::text as written`, [key]))[0]?.written
  } catch (error) {
    const code = (error as { code?: unknown }).code
    if (typeof code === 'string' && DATA_EXCEPTION.test(code)) return undefined
    throw error
  }
}
