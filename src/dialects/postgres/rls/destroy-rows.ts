import type { AdminConnection, DestroyReport } from '../../../contracts/dialect.ts'
import { TENANT_SETTING } from '../../../contracts/isolation.ts'
import { tenancyError } from '../../../errors.ts'
import { quoteIdentifier } from '../quote.ts'
import { type ForeignKey, foreignKeys, type SharedSchema, type SharedTable, sharedTables } from './catalogue.ts'

type Query = AdminConnection['query']

/** Rows of one DELETE: more would hold locks and grow the log for long. */
const CHUNK = 5000

/** A row that stays is referred to by something that is not the tenant's. */
const FOREIGN_KEY_VIOLATION = '23503'

/**
 * Deletes every row of one tenant from the shared tables: children before parents, in chunks, each in a transaction of its
 * own. The tenant is set in each, because FORCE ROW LEVEL SECURITY binds the owner too: without it nothing would be found
 * and nothing deleted. Counts what is left afterwards.
 * @throws TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function destroyRows(
  admin: Pick<AdminConnection, 'transaction'>,
  tenant: string,
  at: SharedSchema,
): Promise<DestroyReport> {
  const asTenant = <T>(work: (query: Query) => Promise<T>): Promise<T> =>
    admin.transaction(async (query) => {
      await query('select set_config($1, $2, true)', [TENANT_SETTING, tenant])
      return work(query)
    })
  const { tables, keys } = await asTenant(async (query) => ({
    // One without the column, made by hand, has no tenant's rows.
    tables: (await sharedTables(query, at)).filter(({ type }) => type !== null),
    keys: await foreignKeys(query, at),
  }))
  const groups = childrenFirst(
    tables.map(({ name }) => name),
    keys,
  )
  const statements = statementsOf(tables, keys, at)
  let rows = 0
  for (const group of groups) {
    const text = statements.remove(group)
    // Tables that refer to each other go in one statement: keys are checked at its end.
    for (let removed = -1; removed !== 0; ) {
      removed = await asTenant((query) => countOf(query, text, tenant)).catch(referredTo)
      rows += removed
    }
  }
  const left = await asTenant(async (query) => {
    let sum = 0
    for (const table of tables) sum += await countOf(query, statements.count(table), tenant)
    return sum
  })
  if (left > 0) throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [`${left} rows are left`])
  return { objects: 0, rows }
}

async function countOf(query: Query, text: string, tenant: string): Promise<number> {
  const [row] = await query<{ n: string }>(text, [tenant])
  return Number(row?.n ?? 0)
}

function referredTo(error: unknown): never {
  if ((error as { code?: unknown }).code !== FOREIGN_KEY_VIOLATION) throw error
  throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', ["something that is not the tenant's refers to its rows"], error)
}

function statementsOf(tables: readonly SharedTable[], keys: readonly ForeignKey[], { schema, column }: SharedSchema) {
  const full = (name: string) => `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
  const typeOf = (name: string) => tables.find((table) => table.name === name)?.type ?? 'uuid'
  const selfReferring = (name: string) => keys.some(({ child, parent }) => child === name && parent === name)
  const own = (name: string) => `${quoteIdentifier(column)} = ($1::text)::${typeOf(name)}`
  return {
    count: ({ name }: SharedTable) => `select count(*) as n from only ${full(name)} where ${own(name)}`,
    /**
     * One statement for a group; a table that nothing ties to others of its tenant's rows goes in chunks. The same ctid in
     * several partitions is no matter: only rows of the tenant go.
     */
    remove(group: readonly string[]): string {
      const whole = group.length > 1 || group.some(selfReferring)
      const chunk = (name: string) =>
        whole
          ? `delete from ${full(name)} where ${own(name)} returning 1`
          : `delete from ${full(name)} where ctid = any (array(select ctid from ${full(name)} where ${own(name)} limit ${CHUNK})) and ${own(name)} returning 1`
      const parts = group.map((name, i) => `gone${i} as (${chunk(name)})`)
      const sum = group.map((_, i) => `(select count(*) from gone${i})`).join(' + ')
      return `with ${parts.join(', ')} select ${sum} as n`
    },
  }
}

/** The tables in groups, each after all that refer to it; a group of several refers to itself in a circle. */
export function childrenFirst(
  names: readonly string[],
  keys: readonly { readonly child: string; readonly parent: string }[],
): readonly (readonly string[])[] {
  const reaches = (from: string): Set<string> => {
    const seen = new Set<string>()
    const visit = (name: string) => {
      for (const { child, parent } of keys) {
        if (child !== name || seen.has(parent)) continue
        seen.add(parent)
        visit(parent)
      }
    }
    visit(from)
    return seen
  }
  const reached = new Map(names.map((name) => [name, reaches(name)]))
  const groups: string[][] = []
  for (const name of names) {
    const together = groups.find(
      ([first = '']) => reached.get(first)?.has(name) === true && reached.get(name)?.has(first) === true,
    )
    if (together === undefined) groups.push([name])
    else together.push(name)
  }
  // Who reaches more tables is further down.
  const depth = ([name = '']: readonly string[]) =>
    new Set([...(reached.get(name) ?? [])].filter((other) => reached.get(other)?.has(name) !== true)).size
  return groups.sort((one, other) => depth(other) - depth(one))
}
