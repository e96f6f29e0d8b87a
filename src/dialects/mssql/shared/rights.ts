import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { tenancyError } from '../../../errors.ts'
import { HARMLESS, type HeldRight, ownersOf, type Principals, principalsOf, PUBLIC, rightsOf } from '../held-rights.ts'
import type { Layout } from '../layout.ts'
import { fullName, objectsOf } from '../objects.ts'
import { mssqlProfile } from '../profile.ts'
import { refuseChangingKeys } from './misuse.ts'

type Query = AdminConnection['query']

/** What {@link sealShared} needs. */
export interface SealOptions {
  readonly query: Query
  readonly layout: Layout
  readonly shared: SharedTables
  /** The serving user; absent when the admin login serves too. */
  readonly user: string | undefined
}

const READ = ['SELECT']
const WRITE = ['SELECT', 'INSERT', 'UPDATE', 'DELETE']

/**
 * Gives the serving user exactly what the configuration says: rows of the named tables to read, of the writable ones to
 * write, and nothing else of the schema, such as its ledger. Changes nothing that is right already.
 * @throws TENANCY_ERR_SHARED_TABLES for a table that is missing or has the tenant column, for a right that comes by another
 * way, and for a foreign key through which tenants would change more than the writable tables
 */
export async function sealShared({ query, layout, shared, user }: SealOptions): Promise<void> {
  await refuseUnfit(query, layout, shared)
  if (user === undefined) return
  const principals = await principalsOf(query, user)
  const rights = await rightsOf(query, principals)
  await refuseWider(query, layout, user, principals, rights)
  for (const statement of repairs(rights, layout, shared, user)) await query(statement)
  // Among themselves the writable tables may.
  await refuseChangingKeys(
    query,
    shared,
    ({ schema, child }) => schema !== layout.schema || !shared.writable.includes(child),
  )
}

async function refuseUnfit(
  query: Query,
  layout: Layout,
  { names, writable, tenantColumn }: SharedTables,
): Promise<void> {
  const objects = await objectsOf(query, layout)
  const columns = await query<{ name: string }>(
    `select o.name from sys.columns c join sys.objects o on o.object_id = c.object_id
     where o.schema_id = schema_id(@p0) and c.name = @p1`,
    [layout.schema, tenantColumn],
  )
  for (const name of names) {
    const found = objects.find((object) => object.name === name && ['USER_TABLE', 'VIEW'].includes(object.type))
    if (found === undefined) throw refusal(`${name} is not made by \`sharedMigrations\``)
    if (columns.some((column) => column.name === name)) {
      throw refusal(`${name} has the column ${tenantColumn}, and every tenant would read all its rows`)
    }
    if (writable.includes(name) && found.type !== 'USER_TABLE') throw refusal(`${name} is writable and no table`)
  }
}

/** What is not given to the serving user, or to everybody, on a single object, is not ours to take back. */
async function refuseWider(
  query: Query,
  { schema }: Layout,
  user: string,
  { names, fixedRoles }: Principals,
  rights: readonly HeldRight[],
): Promise<void> {
  const [role] = fixedRoles
  if (role !== undefined) throw refusal(`the serving user is a member of ${role}, which reaches further`)
  const owned = (await ownersOf(query, schema)).find(({ owner }) => names.has(owner))
  if (owned !== undefined) throw refusal(`the serving user owns ${owned.object ?? `the schema ${schema}`}`)
  const wider = rights.find(
    ({ on, permission, schema: of, grantee }) =>
      (on === 'DATABASE' && !HARMLESS.has(permission)) ||
      (of === schema && (on === 'SCHEMA' || (on === 'OBJECT_OR_COLUMN' && grantee !== user && grantee !== PUBLIC))),
  )
  if (wider === undefined) return
  const { permission, grantee, on, object } = wider
  const what = { DATABASE: 'the whole database', SCHEMA: `the schema ${schema}` }[on as 'DATABASE' | 'SCHEMA'] ?? object
  throw refusal(`the serving user has ${permission} on ${what} as ${grantee}, which reaches further`)
}

/** What takes the excess back and gives what is lacking. */
function repairs(rights: readonly HeldRight[], layout: Layout, shared: SharedTables, user: string): string[] {
  const { quoteName } = mssqlProfile
  const held = rights.filter(({ on, schema }) => on === 'OBJECT_OR_COLUMN' && schema === layout.schema)
  const wantedOf = (name: string) => (shared.writable.includes(name) ? WRITE : shared.names.includes(name) ? READ : [])
  const isRight = ({ grantee, permission, object, column, grantable }: HeldRight) =>
    grantee === user && column === null && grantable === 0 && wantedOf(object ?? '').includes(permission)
  const excess = held.filter((right) => !isRight(right))
  const has = (name: string, permission: string) =>
    held.some((right) => right.object === name && right.permission === permission && isRight(right)) &&
    // Taken back from a column, it may be gone from the table too.
    !excess.some((right) => right.object === name && right.permission === permission && right.grantee === user)
  return [
    ...excess.map(({ permission, object, column, grantee }) => {
      const on = `${fullName(layout, object ?? '')}${column === null ? '' : ` (${quoteName(column)})`}`
      return `revoke ${permission.toLowerCase()} on ${on} from ${quoteName(grantee)} cascade`
    }),
    ...shared.names.flatMap((name) => {
      const lacking = wantedOf(name).filter((permission) => !has(name, permission))
      return lacking.length === 0
        ? []
        : [`grant ${lacking.join(', ').toLowerCase()} on ${fullName(layout, name)} to ${quoteName(user)}`]
    }),
  ]
}

function refusal(reason: string): Error {
  return tenancyError('TENANCY_ERR_SHARED_TABLES', [reason])
}
