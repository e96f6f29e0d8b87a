import type { AdminConnection } from '../../contracts/dialect.ts'
import { tenancyError } from '../../errors.ts'
import type { Naming } from '../../sql/naming.ts'
import type { Layout } from './layout.ts'
import { mysqlProfile } from './profile.ts'

type Query = AdminConnection['query']

/** A table, view or sequence. */
export interface NamespaceObject {
  readonly name: string
  /** As MySQL tells it, such as `BASE TABLE`. */
  readonly type: string
}

/** Statements of this many names stay far below `max_allowed_packet`. */
const AT_ONCE = 100
const KINDS = [
  { verb: 'view', is: (type: string) => type.endsWith('VIEW') },
  {
    verb: 'table',
    is: (type: string) => !type.endsWith('VIEW') && type !== 'SEQUENCE',
  },
  { verb: 'sequence', is: (type: string) => type === 'SEQUENCE' },
] as const

const { quoteName } = mysqlProfile

/** Whether a database exists. */
export async function databaseExists(query: Query, database: string): Promise<boolean> {
  const found = await query('select 1 from information_schema.schemata where schema_name = ?', [database])
  return found.length > 0
}

/** The tables, views and sequences of a layout: all of its database, or those that begin with its prefix, to the letter. */
export async function objectsOf(query: Query, { database, naming: { prefix } }: Layout): Promise<NamespaceObject[]> {
  // The underscore stands for any character here; what does not begin with the prefix is left out below.
  const rows = await query<Record<string, string>>(`show full tables from ${quoteName(database)} like ?`, [
    `${prefix}%`,
  ])
  return rows
    .map((row) => Object.values(row) as [string, string])
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, type]) => ({ name, type }))
}

/** Whether a database holds nothing at all. */
export async function isEmpty(query: Query, layout: Layout): Promise<boolean> {
  const [row] = await query<{ routines: unknown; events: unknown }>(
    `select (select count(*) from information_schema.routines where routine_schema = ?) as routines,
      (select count(*) from information_schema.events where event_schema = ?) as events`,
    [layout.database, layout.database],
  )
  return Number(row?.routines) + Number(row?.events) === 0 && (await objectsOf(query, layout)).length === 0
}

/** Drops these, in any order whatever refers to what; `last` comes last, so that a crash leaves it to tell whose the rest is. */
export async function dropObjects(
  query: Query,
  layout: Layout,
  objects: readonly NamespaceObject[],
  last: string,
): Promise<void> {
  const full = (name: string) => `${quoteName(layout.database)}.${quoteName(name)}`
  await query('set session foreign_key_checks = 0')
  for (const { verb, is } of KINDS) {
    const names = objects.filter(({ name, type }) => is(type) && name !== last).map(({ name }) => full(name))
    for (let at = 0; at < names.length; at += AT_ONCE) {
      await query(`drop ${verb} if exists ${names.slice(at, at + AT_ONCE).join(', ')}`)
    }
  }
  await query(`drop table if exists ${full(last)}`)
  await query('set session foreign_key_checks = 1')
}

/**
 * Refuses when a table elsewhere refers to one of these: it would be left with references to nothing.
 * @throws TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function refuseReferences(query: Query, { database, naming }: Layout): Promise<void> {
  const references = await query<{
    database: string
    child: string
    parent: string
  }>(
    `select constraint_schema as \`database\`, table_name as child, referenced_table_name as parent
     from information_schema.referential_constraints where unique_constraint_schema = ?`,
    [database],
  )
  const stranger = references.find(
    (reference) =>
      isOf(naming, reference.parent) && !(reference.database === database && isOf(naming, reference.child)),
  )
  if (stranger === undefined) return
  throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', ["a table that is not the tenant's refers to one of it"])
}

function isOf({ prefix }: Naming, name: string): boolean {
  return name.startsWith(prefix)
}
