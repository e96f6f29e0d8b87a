import type { AdminConnection } from '../../../contracts/dialect.ts'
import { type Scope, TENANT_SETTING } from '../../../contracts/isolation.ts'
import { tenancyError } from '../../../errors.ts'
import { canonicalRowKey } from '../../../util/row-key.ts'
import { quoteIdentifier, quoteLiteral } from '../quote.ts'

type Query = AdminConnection['query']

/**
 * Which tenant has which row key of a shared schema. A registry keeps its own keys apart; only what lies beside the rows
 * keeps those of two registries apart that lead to the same rows.
 */
export const ROW_KEYS = '__tenancy_row_keys'

/** So that a table made by somebody else is never taken for it. */
const MARK = 'fastify-tenancy row keys'

/**
 * Writes down that a tenant has its row key, for ever once it was served, for who holds the lock of the shared schema. Idempotent.
 * @returns false when another tenant has the key, or one that a column could read as the same value
 * @throws TENANCY_ERR_NAMESPACE_EXISTS when there is a table of this name that is not ours
 */
export async function claimRowKey(query: Query, schema: string, { tenantId, settings }: Scope): Promise<boolean> {
  const table = `${quoteIdentifier(schema)}.${quoteIdentifier(ROW_KEYS)}`
  await ensureTable(query, schema, table)
  await closeTable(query, table)
  const key = canonicalRowKey(settings[TENANT_SETTING] ?? '')
  await query(`insert into ${table} (row_key, tenant) values ($1, $2) on conflict do nothing`, [key, tenantId])
  const [claim] = await query<{ own: boolean }>(`select tenant = $2 as own from ${table} where row_key = $1`, [
    key,
    tenantId,
  ])
  return claim?.own === true
}

/** Gives back what `claimRowKey` wrote down for this tenant, for who holds the same lock. */
export async function releaseRowKey(query: Query, schema: string, { tenantId }: Scope): Promise<void> {
  const table = `${quoteIdentifier(schema)}.${quoteIdentifier(ROW_KEYS)}`
  await ensureTable(query, schema, table)
  await query(`delete from ${table} where tenant = $1`, [tenantId])
}

async function ensureTable(query: Query, schema: string, table: string): Promise<void> {
  // Read from the table: behind the lock `to_regclass` may still remember that it was not there.
  const [found] = await query<{ mark: string | null }>(
    `select pg_catalog.obj_description(c.oid, 'pg_class') as mark from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2`,
    [schema, ROW_KEYS],
  )
  if (found !== undefined) {
    if (found.mark !== MARK) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [table])
    return
  }
  await query(`create table ${table} (row_key text collate "C" primary key, tenant uuid not null)`)
  await query(`comment on table ${table} is ${quoteLiteral(MARK)}`)
}

/** Takes back what default privileges, or somebody who meant every table, have given of it. */
async function closeTable(query: Query, table: string): Promise<void> {
  const others = await query<{ role: string | null }>(
    `select distinct r.rolname::text as role from pg_catalog.pg_class c
     cross join lateral pg_catalog.aclexplode(c.relacl) a left join pg_catalog.pg_roles r on r.oid = a.grantee
     where c.oid = $1::regclass and a.grantee <> c.relowner`,
    [table],
  )
  for (const { role } of others) {
    await query(`revoke all on ${table} from ${role === null ? 'public' : quoteIdentifier(role)}`)
  }
}
