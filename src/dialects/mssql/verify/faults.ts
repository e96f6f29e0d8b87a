import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import { HARMLESS, ownersOf, principalsOf, type HeldRight, rightsOf } from '../held-rights.ts'
import type { Layout } from '../layout.ts'
import { mssqlProfile } from '../profile.ts'
import { quoteText } from '../quote.ts'
import { markOfDatabase, markOfSchema, markOfTable, schemaMark, tenantMark } from '../marks.ts'
import { ledgerName } from '../namespace-session.ts'
import { ROW_KEYS } from '../rls/row-keys.ts'
import { modulesOf, type Tie, tiesOf } from '../ties.ts'

type Query = AdminConnection['query']

/** Rights on objects that the serving user is given. */
const ROWS = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE'])

/** Whether the namespace is there and this tenant's, with the ledger of its migrations. In its database. */
export async function placeFaults(query: Query, scope: Scope, layout: Layout): Promise<string[]> {
  if (layout.database === undefined) {
    const mark = await markOfSchema(query, layout.schema)
    if (mark === undefined) return [`the schema ${layout.schema} does not exist`]
    if (mark !== schemaMark(scope, layout))
      return [`the schema ${layout.schema} is not marked as made for this purpose`]
  } else if ((await markOfDatabase(query)) !== tenantMark(scope)) {
    return ['the database is not marked as made for this tenant']
  }
  const ledger = await markOfTable(query, layout.schema, ledgerName(layout))
  if (ledger === undefined) return ['there is no ledger of migrations']
  const wanted = layout.naming.prefix === '' ? schemaMark(scope, layout) : tenantMark(scope)
  return ledger === wanted ? [] : ['the ledger of migrations is not marked as made for this tenant']
}

/** What the serving user has in the database of a layout besides rows in its tables, and nothing in the ledger. */
export async function rightFaults(query: Query, layout: Layout, user: string | undefined): Promise<string[]> {
  if (user === undefined) return []
  const principals = await principalsOf(query, user)
  const rights = await rightsOf(query, principals)
  const owners = (await ownersOf(query, layout.schema)).filter(({ object }) => isWithin(layout, layout.schema, object))
  return [
    ...principals.fixedRoles.map((role) => `it is a member of ${role}`),
    ...owners
      .filter(({ owner }) => principals.names.has(owner))
      .map(({ object, schema }) => `it owns ${object ?? schema}`),
    ...rights.flatMap((right) => (isExcess(right, layout) ? [told(right)] : [])),
  ]
}

/** Rights on an object that the serving user must not have, by whatever way. */
const BEYOND_ROWS = ['CONTROL', 'ALTER', 'TAKE OWNERSHIP', 'REFERENCES', 'VIEW CHANGE TRACKING']

/** What the serving login, asked as itself, can do with objects of a layout besides rows in its tables. */
export async function effectiveFaults(serving: Query, layout: Layout, objects: readonly string[]): Promise<string[]> {
  const pairs = objects.flatMap((name) =>
    (isInternal(name, layout) ? [...BEYOND_ROWS, ...ROWS] : BEYOND_ROWS).map((right) => [name, right] as const),
  )
  if (pairs.length === 0) return []
  const values = pairs.map(([name, right]) => `(${quoteText(name)}, ${quoteText(right)})`).join(', ')
  const schema = layout.naming.qualifier.map((part) => mssqlProfile.quoteName(part)).join('.')
  const held = await serving<{ object: string; permission: string }>(
    `select v.name as [object], v.permission from (values ${values}) v(name, permission)
     where has_perms_by_name(${quoteText(schema)} + N'.' + quotename(v.name), N'OBJECT', v.permission) = 1`,
  )
  return held.map(({ object, permission }) => `it can ${permission} ${object}`)
}

function isExcess(right: HeldRight, layout: Layout): boolean {
  const { on, permission, schema, object, grantable, column } = right
  if (on === 'DATABASE') return !HARMLESS.has(permission)
  // To become somebody else is to have what that one has.
  if (on === 'DATABASE_PRINCIPAL') return permission === 'IMPERSONATE' || permission === 'CONTROL'
  if (!isWithin(layout, schema, object)) return false
  return on === 'SCHEMA' || !ROWS.has(permission) || column !== null || grantable === 1 || isInternal(object, layout)
}

function told({ grantee, permission, on, schema, object, column }: HeldRight): string {
  const what =
    on === 'DATABASE' ? 'the whole database' : [schema, object, column].filter((part) => part !== null).join('.')
  return `${permission} is granted on ${what} to ${grantee}`
}

/** Whether this is a table of the library's own, in which no tenant has rows. */
function isInternal(name: string | null, layout: Layout): boolean {
  return name === ledgerName(layout) || name === ROW_KEYS
}

/** Whether this is of the layout: its schema, or an object of it. */
function isWithin({ schema: own, naming: { prefix } }: Layout, schema: string | null, object: string | null): boolean {
  return schema === own && (object === null || object.startsWith(prefix))
}

/**
 * What ties tables of this namespace to some that are not of it. A table that all tenants read, in `sharedSchema`, may be
 * referred to; it may not refer to one of theirs.
 */
export async function tieFaults(query: Query, layout: Layout, sharedSchema?: string): Promise<string[]> {
  const ties = await tiesOf(query, layout.schema)
  return [...new Set(ties.filter((tie) => crosses(tie, layout, sharedSchema)).map(toldTie))]
}

function crosses({ fromSchema, from, toSchema, to }: Tie, layout: Layout, sharedSchema: string | undefined): boolean {
  const [child, parent] = [isWithin(layout, fromSchema, from), isWithin(layout, toSchema, to)]
  return child !== parent && !(child && toSchema === sharedSchema)
}

function toldTie({ kind, name }: Tie): string {
  return `the ${kind} ${name} ties a table of this tenant to one that is not its own`
}

/** Code in a namespace: what no migration makes, and so nobody has looked at. */
export async function codeOf(query: Query, layout: Layout): Promise<{ faults: string[]; warnings: string[] }> {
  const found = await modulesOf(query, layout.schema)
  const own = found.filter(({ table }) => isWithin(layout, layout.schema, table))
  return {
    faults: own
      .filter(({ impersonates }) => impersonates === 1)
      .map(({ type, name }) => `the ${type} ${name} runs with the rights of somebody else (EXECUTE AS)`),
    warnings: own.map(
      ({ type, name }) => `the ${type} ${name} was not made by migrations: what it does is not looked at`,
    ),
  }
}
