import type { AdminConnection } from '../../contracts/dialect.ts'
import { tenancyError } from '../../errors.ts'
import { errorNumber } from './failure.ts'
import type { Layout } from './layout.ts'
import { mssqlProfile } from './profile.ts'

type Query = AdminConnection['query']

/** Something that stands alone in a schema: constraints and triggers go with their table. */
export interface NamespaceObject {
  readonly name: string
  /** As SQL Server tells it, such as `USER_TABLE`. */
  readonly type: string
}

/** Errors of DROP that say that something leans on it, or that it is a table of a kind that needs more. */
const IN_THE_WAY = new Set([3705, 3716, 3726, 3729, 13_552])
/** What can be dropped, in an order in which it can be. Sequences are in the defaults of tables. */
const KINDS = [
  { type: 'VIEW', verb: 'view' },
  { type: 'USER_TABLE', verb: 'table' },
  { type: 'SEQUENCE_OBJECT', verb: 'sequence' },
] as const

const { quoteName } = mssqlProfile

/** The objects of a layout in the database of the session, the newest first: a view may be bound to an older one. */
export async function objectsOf(query: Query, { schema, naming: { prefix } }: Layout): Promise<NamespaceObject[]> {
  const rows = await query<NamespaceObject>(
    `select o.name, rtrim(o.type_desc) as type from sys.objects o join sys.schemas s on s.schema_id = o.schema_id
     where s.name = @p0 and o.parent_object_id = 0 and o.is_ms_shipped = 0 order by o.create_date desc, o.object_id desc`,
    [schema],
  )
  return rows.filter(({ name }) => name.startsWith(prefix))
}

/** The full name of an object of a layout in the database of the session. */
export function fullName({ schema }: Pick<Layout, 'schema'>, name: string): string {
  return `${quoteName(schema)}.${quoteName(name)}`
}

/** Drops these, foreign keys first, whatever refers to what. @throws TENANCY_ERR_DESTROY_INCOMPLETE */
export async function dropObjects(query: Query, layout: Layout, objects: readonly NamespaceObject[]): Promise<void> {
  const names = new Set(objects.map(({ name }) => name))
  for (const { name, child, parentSchema, parent, childSchema } of await foreignKeysAt(query, layout.schema)) {
    const [ownChild, ownParent] = [
      childSchema === layout.schema && names.has(child),
      parentSchema === layout.schema && names.has(parent),
    ]
    if (ownChild) await query(`alter table ${fullName(layout, child)} drop constraint ${quoteName(name)}`)
    else if (ownParent) throw incomplete(`a table that is not the tenant's refers to one of it`)
  }
  for (const { type, verb } of KINDS) {
    for (const object of objects) {
      if (object.type === type) await drop(query, `drop ${verb} if exists ${fullName(layout, object.name)}`)
    }
  }
}

/** Runs a DROP. @throws TENANCY_ERR_DESTROY_INCOMPLETE when something is in its way */
export async function drop(query: Query, statement: string): Promise<void> {
  try {
    await query(statement)
  } catch (error) {
    if (!IN_THE_WAY.has(errorNumber(error) ?? 0)) throw error
    throw incomplete('an object depends on one of it, or is of a kind that migrations do not make', error)
  }
}

function incomplete(reason: string, cause?: unknown) {
  return tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [reason], cause)
}

interface ForeignKey {
  readonly name: string
  readonly childSchema: string
  readonly child: string
  readonly parentSchema: string
  readonly parent: string
}

/** The foreign keys from or to tables of a schema. */
function foreignKeysAt(query: Query, schema: string): Promise<ForeignKey[]> {
  return query<ForeignKey>(
    `select k.name, cs.name as childSchema, c.name as child, ps.name as parentSchema, p.name as parent
     from sys.foreign_keys k
     join sys.tables c on c.object_id = k.parent_object_id join sys.schemas cs on cs.schema_id = c.schema_id
     join sys.tables p on p.object_id = k.referenced_object_id join sys.schemas ps on ps.schema_id = p.schema_id
     where cs.name = @p0 or ps.name = @p0`,
    [schema],
  )
}
