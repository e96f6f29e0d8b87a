import type { AdminConnection } from '../../../contracts/dialect.ts'
import { type Scope, TENANT_SETTING } from '../../../contracts/isolation.ts'
import { tenancyError } from '../../../errors.ts'
import { canonicalRowKey } from '../../../util/row-key.ts'
import type { Layout } from '../layout.ts'
import { markOfTable, markTable } from '../marks.ts'
import { fullName } from '../objects.ts'

type Query = AdminConnection['query']

/**
 * Which tenant has which row key of a shared schema. A registry keeps its own keys apart; only what lies beside the rows
 * keeps those of two registries apart that lead to the same rows.
 */
export const ROW_KEYS = '__tenancy_row_keys'

/** So that a table made by somebody else is never taken for it. */
const MARK = 'row keys'

/**
 * Writes down that a tenant has its row key, for ever once it was served, for who holds the lock of the shared schema. Idempotent.
 * @returns false when another tenant has the key
 * @throws TENANCY_ERR_NAMESPACE_EXISTS when there is a table of this name that is not ours
 */
export async function claimRowKey(query: Query, layout: Layout, { tenantId, settings }: Scope): Promise<boolean> {
  const table = fullName(layout, ROW_KEYS)
  const mark = await markOfTable(query, layout.schema, ROW_KEYS)
  if (mark === undefined) {
    await query(
      `create table ${table} (row_key nvarchar(36) collate Latin1_General_BIN2 not null primary key, tenant nvarchar(36) not null)`,
    )
    await markTable(query, layout.schema, ROW_KEYS, MARK)
  } else if (mark !== MARK) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [table])
  const key = canonicalRowKey(settings[TENANT_SETTING] ?? '')
  await query(
    `insert into ${table} (row_key, tenant) select @p0, @p1 where not exists (select 1 from ${table} where row_key = @p0)`,
    [key, tenantId],
  )
  const [claim] = await query<{ tenant: string }>(`select tenant from ${table} where row_key = @p0`, [key])
  return claim?.tenant === tenantId
}

/**
 * Gives back what `claimRowKey` wrote down for this tenant, for who holds the same lock.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS when there is a table of this name that is not ours
 */
export async function releaseRowKey(query: Query, layout: Layout, { tenantId }: Scope): Promise<void> {
  const table = fullName(layout, ROW_KEYS)
  const mark = await markOfTable(query, layout.schema, ROW_KEYS)
  if (mark === undefined) return
  if (mark !== MARK) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [table])
  await query(`delete from ${table} where tenant = @p0`, [tenantId])
}
