import type { AdminConnection, DestroyReport } from '../../../contracts/dialect.ts'
import { TENANT_SETTING } from '../../../contracts/isolation.ts'
import { tenancyError } from '../../../errors.ts'
import { errorNumber } from '../failure.ts'
import { fullName } from '../objects.ts'
import { mssqlProfile } from '../profile.ts'
import { quoteText } from '../quote.ts'
import { CURRENT_TENANT } from '../scope-batch.ts'
import { type ForeignKey, foreignKeys, type SharedSchema, sharedTables } from './catalogue.ts'

type Query = AdminConnection['query']

/** Rows of one DELETE: with more locks than these the server would lock the table for all tenants. */
const CHUNK = 2000
/** A row is referred to by something that stays. */
const REFERRED_TO = 547

const SET = `exec sys.sp_set_session_context @key = ${quoteText(TENANT_SETTING)}, @value = @p0`

/**
 * Deletes every row of one tenant from the shared tables: children before parents, in chunks, each final. The tenant is set
 * in the session, because policies bind everybody: without it nothing would be found. It is in each statement too, because
 * a policy may be switched off. Counts what is left afterwards.
 * @throws TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function destroyRows(query: Query, tenant: string, at: SharedSchema): Promise<DestroyReport> {
  await query(SET, [tenant])
  try {
    const [session] = await query<{ tenant: string | null }>(`select ${CURRENT_TENANT} as tenant`)
    if (session?.tenant !== tenant) throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
    return await destroyAs(query, tenant, at)
  } finally {
    await query(SET, [null]).catch(() => {})
  }
}

async function destroyAs(query: Query, tenant: string, at: SharedSchema): Promise<DestroyReport> {
  // One without the column, made by hand, has no tenant's rows.
  const tables = (await sharedTables(query, at)).filter(({ type }) => type !== null).map(({ name }) => name)
  const keys = await foreignKeys(query, at)
  const own = `${mssqlProfile.quoteName(at.column)} = @p0`
  let rows = 0
  for (const table of childrenFirst(tables, keys)) {
    // A table that refers to itself goes in one statement: its keys are checked at the end of it.
    const whole = keys.some(({ child, parent }) => child === table && parent === table)
    const text = `delete ${whole ? '' : `top (${CHUNK}) `}from ${fullName(at.layout, table)} where ${own}; select @@rowcount as n`
    for (let removed = -1; removed !== 0; rows += removed) removed = await countOf(query, text, tenant)
  }
  let left = 0
  for (const table of tables) {
    left += await countOf(query, `select count(*) as n from ${fullName(at.layout, table)} where ${own}`, tenant)
  }
  if (left > 0) throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [`${left} rows are left`])
  return { objects: 0, rows }
}

async function countOf(query: Query, text: string, tenant: string): Promise<number> {
  try {
    const [row] = await query<{ n: number }>(text, [tenant])
    return row?.n ?? 0
  } catch (error) {
    if (errorNumber(error) !== REFERRED_TO) throw error
    throw tenancyError(
      'TENANCY_ERR_DESTROY_INCOMPLETE',
      ["something that is not the tenant's refers to its rows"],
      error,
    )
  }
}

/** The tables, each after all that refer to it. Of those that refer to each other in a circle, any comes first. */
export function childrenFirst(
  tables: readonly string[],
  keys: readonly Pick<ForeignKey, 'child' | 'parent'>[],
): readonly string[] {
  const left = new Set(tables)
  const ordered: string[] = []
  while (left.size > 0) {
    const isParent = (name: string) =>
      keys.some(({ child, parent }) => parent === name && child !== name && left.has(child))
    const next = [...left].find((name) => !isParent(name)) ?? ([...left][0] as string)
    left.delete(next)
    ordered.push(next)
  }
  return ordered
}
