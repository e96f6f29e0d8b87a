import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Layout } from './layout.ts'
import { fullName, type NamespaceObject, objectsOf } from './objects.ts'
import { mssqlProfile } from './profile.ts'
import { ROW_KEYS } from './rls/row-keys.ts'

type Query = AdminConnection['query']

/** What the serving user gets on each kind of object. NEXT VALUE FOR needs UPDATE. */
const RIGHTS: Readonly<Record<string, string>> = {
  USER_TABLE: 'select, insert, update, delete',
  VIEW: 'select, insert, update, delete',
  SEQUENCE_OBJECT: 'update',
}
const GRANTED = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE'])

/**
 * Rows for the serving user in everything that migrations made, never DDL. Each object by itself: rights on the schema
 * would be rights on the ledger and on the row keys.
 */
export async function grantRows(query: Query, layout: Layout, user: string | undefined, ledger: string): Promise<void> {
  if (user === undefined) return
  const granted = await rightsOf(query, layout, user)
  const missing = (await objectsOf(query, layout)).filter(
    ({ name, type }) =>
      name !== ledger && name !== ROW_KEYS && RIGHTS[type] !== undefined && !isGranted(type, granted.get(name)),
  )
  if (missing.length === 0) return
  await query(missing.map((object) => grant(layout, object, user)).join(';\n'))
}

function grant(layout: Layout, { name, type }: NamespaceObject, user: string): string {
  return `grant ${RIGHTS[type]} on ${fullName(layout, name)} to ${mssqlProfile.quoteName(user)}`
}

function isGranted(type: string, rights: ReadonlySet<string> = new Set()): boolean {
  return type === 'SEQUENCE_OBJECT' ? rights.has('UPDATE') : [...GRANTED].every((right) => rights.has(right))
}

async function rightsOf(query: Query, { schema }: Layout, user: string): Promise<Map<string, Set<string>>> {
  const rows = await query<{ name: string; permission: string }>(
    `select o.name, p.permission_name as permission from sys.database_permissions p
     join sys.objects o on o.object_id = p.major_id join sys.schemas s on s.schema_id = o.schema_id
     join sys.database_principals u on u.principal_id = p.grantee_principal_id
     where p.class = 1 and p.minor_id = 0 and p.state in ('G', 'W') and s.name = @p0 and u.name = @p1`,
    [schema, user],
  )
  const rights = new Map<string, Set<string>>()
  for (const { name, permission } of rows) rights.set(name, (rights.get(name) ?? new Set()).add(permission))
  return rights
}
