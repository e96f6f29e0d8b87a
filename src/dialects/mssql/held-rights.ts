import type { AdminConnection } from '../../contracts/dialect.ts'

type Query = AdminConnection['query']

/** Who the serving user is to the database of the session: itself, everybody, and the roles that it is in by whatever way. */
export interface Principals {
  readonly names: ReadonlySet<string>
  /** Roles that come with the server, whose rights are written nowhere, such as `db_datareader`. */
  readonly fixedRoles: readonly string[]
}

interface Membership {
  readonly member: string
  readonly role: string
  readonly fixed: number
}

/** Everybody is in it. */
export const PUBLIC = 'public'

/** Follows the memberships of a user. */
export async function principalsOf(query: Query, user: string): Promise<Principals> {
  const memberships = await query<Membership>(
    `select m.name as member, r.name as role, cast(r.is_fixed_role as int) as fixed
     from sys.database_role_members x join sys.database_principals m on m.principal_id = x.member_principal_id
     join sys.database_principals r on r.principal_id = x.role_principal_id`,
  )
  const names = new Set([user, PUBLIC])
  const fixedRoles = new Set<string>()
  // A set that grows while it is gone through is gone through to its end.
  for (const name of names) {
    for (const { member, role, fixed } of memberships) {
      if (member !== name) continue
      names.add(role)
      if (fixed === 1) fixedRoles.add(role)
    }
  }
  return { names, fixedRoles: [...fixedRoles] }
}

/** Rights on the whole database that show and change nothing; everybody has them. */
export const HARMLESS: ReadonlySet<string> = new Set([
  'CONNECT',
  'VIEW ANY COLUMN ENCRYPTION KEY DEFINITION',
  'VIEW ANY COLUMN MASTER KEY DEFINITION',
])

/** A right that somebody was given in the database of the session. */
export interface HeldRight {
  /** Who was given it. */
  readonly grantee: string
  /** Such as `SELECT`. */
  readonly permission: string
  /** Of the whole database, of a schema, of an object or one of its columns, or of another principal. */
  readonly on: 'DATABASE' | 'SCHEMA' | 'OBJECT_OR_COLUMN' | 'DATABASE_PRINCIPAL'
  /** The schema, or that of the object. */
  readonly schema: string | null
  /** The object, or the other principal. */
  readonly object: string | null
  readonly column: string | null
  /** Whether it can be given on. */
  readonly grantable: number
}

/** The rights that a user has in the database of the session, by whatever way, but not those of fixed roles and of owners. */
export async function rightsOf(query: Query, { names }: Principals): Promise<HeldRight[]> {
  const rows = await query<HeldRight>(
    `select g.name as grantee, p.permission_name as permission, p.class_desc as [on],
       s.name as [schema], coalesce(o.name, u.name) as [object], c.name as [column],
       case when p.state = 'W' then 1 else 0 end as grantable
     from sys.database_permissions p join sys.database_principals g on g.principal_id = p.grantee_principal_id
     left join sys.objects o on p.class = 1 and o.object_id = p.major_id
     left join sys.schemas s on (p.class = 1 and s.schema_id = o.schema_id) or (p.class = 3 and s.schema_id = p.major_id)
     left join sys.columns c on p.class = 1 and p.minor_id <> 0 and c.object_id = p.major_id and c.column_id = p.minor_id
     left join sys.database_principals u on p.class = 4 and u.principal_id = p.major_id
     where p.state in ('G', 'W') and p.class in (0, 1, 3, 4) and (p.class <> 1 or o.object_id is not null)`,
  )
  return rows.filter(({ grantee }) => names.has(grantee))
}

/** What is of a schema, and of a prefix in it, in the database of the session. */
export interface Owned {
  readonly schema: string
  /** Null for the schema itself. */
  readonly object: string | null
  readonly owner: string
}

/** Schemas and objects with owners of their own. An object without one is its schema's owner's. */
export function ownersOf(query: Query, schema: string): Promise<Owned[]> {
  return query<Owned>(
    `select s.name as [schema], cast(null as nvarchar(128)) as [object], u.name as owner
     from sys.schemas s join sys.database_principals u on u.principal_id = s.principal_id where s.name = @p0
     union all
     select s.name, o.name, u.name from sys.objects o join sys.schemas s on s.schema_id = o.schema_id
     join sys.database_principals u on u.principal_id = o.principal_id where s.name = @p0`,
    [schema],
  )
}
