import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import { quoteAccount } from '../grants.ts'
import type { Layout } from '../layout.ts'
import { objectsOf } from '../objects.ts'
import { mysqlProfile } from '../profile.ts'
import { heldRights, type HeldRights } from './held-rights.ts'
import { refuseChangingKeys } from './misuse.ts'

type Query = AdminConnection['query']

/** What {@link sealShared} needs. */
export interface SealOptions {
  readonly query: Query
  readonly layout: Layout
  readonly shared: SharedTables
  /** The serving account; absent when the admin account serves too. */
  readonly account: string | undefined
  /** Asks as the serving account. */
  readonly asServing: Query
}

const READ = ['SELECT']
const WRITE = ['SELECT', 'INSERT', 'UPDATE', 'DELETE']

/**
 * Gives the serving account exactly what the configuration says: rows of the named tables to read, of the writable ones
 * to write, and nothing else of the database, such as its ledger. Changes nothing that is right already.
 * @throws TENANCY_ERR_SHARED_TABLES for a table that is missing or has the tenant column, for a right that comes by another
 * way, and for a foreign key through which tenants would change more than the writable tables
 */
export async function sealShared({ query, layout, shared, account, asServing }: SealOptions): Promise<void> {
  await refuseUnfit(query, layout, shared)
  if (account === undefined) return
  const before = await heldRights(asServing, layout.database)
  const statements = repairs(before, layout, shared, quoteAccount(account))
  for (const statement of statements) await query(statement)
  const { wider } = statements.length === 0 ? before : await heldRights(asServing, layout.database)
  if (wider !== undefined) throw refusal(`the serving account has ${wider}, which reaches further`)
  // Among themselves the writable tables may.
  await refuseChangingKeys(
    query,
    shared,
    ({ database, child }) => database !== layout.database || !shared.writable.includes(child),
  )
}

async function refuseUnfit(
  query: Query,
  layout: Layout,
  { names, writable, tenantColumn }: SharedTables,
): Promise<void> {
  const objects = await objectsOf(query, layout)
  const columns = await query<{ name: string }>(
    'select table_name as name from information_schema.columns where table_schema = ? and column_name = ?',
    [layout.database, tenantColumn],
  )
  for (const name of names) {
    const found = objects.find((object) => object.name === name && object.type !== 'SEQUENCE')
    if (found === undefined) throw refusal(`${name} is not made by \`sharedMigrations\``)
    if (columns.some((column) => column.name === name)) {
      throw refusal(`${name} has the column ${tenantColumn}, and every tenant would read all its rows`)
    }
    if (writable.includes(name) && found.type.endsWith('VIEW')) throw refusal(`${name} is writable and no table`)
  }
}

function repairs({ byTable }: HeldRights, { database }: Layout, shared: SharedTables, account: string): string[] {
  const { quoteName } = mysqlProfile
  return [...new Set([...shared.names, ...byTable.keys()])].flatMap((name) => {
    const wanted = shared.writable.includes(name) ? WRITE : shared.names.includes(name) ? READ : []
    const held = byTable.get(name) ?? []
    const full = `${quoteName(database)}.${quoteName(name)}`
    const excess = held.filter((right) => !wanted.includes(right))
    const lacking = wanted.filter((right) => !held.includes(right))
    return [
      ...(excess.length === 0 ? [] : [`revoke ${excess.join(', ')} on ${full} from ${account}`]),
      ...(lacking.length === 0 ? [] : [`grant ${lacking.join(', ')} on ${full} to ${account}`]),
    ]
  })
}

function refusal(reason: string): Error {
  return tenancyError('TENANCY_ERR_SHARED_TABLES', [reason])
}
