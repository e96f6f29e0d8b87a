import type { AdminConnection } from '../../contracts/dialect.ts'

type Query = AdminConnection['query']

/** Roles whose members do, see or bypass what no serving login may. */
const SERVER_ROLES = ['sysadmin', 'securityadmin', 'serveradmin', 'setupadmin', 'processadmin', 'dbcreator'] as const
const DATABASE_ROLES = [
  'db_owner',
  'db_ddladmin',
  'db_securityadmin',
  'db_accessadmin',
  'db_datareader',
  'db_datawriter',
  'db_backupoperator',
] as const
/** Rights on the whole database. */
const RIGHTS = ['CONTROL', 'ALTER', 'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'EXECUTE', 'CREATE TABLE'] as const

/** What the serving login could do without a tenant. */
export interface Baseline {
  readonly login: string
  readonly user: string
  readonly defaultSchema: string
  readonly breaches: readonly string[]
  /** The rights by which it could step past security policies. */
  readonly bypasses: readonly string[]
}

/** Asks the serving login what it could do without a tenant, as itself. The right answer is: nothing. */
export async function checkBaseline(query: Query, adminLogin: string): Promise<Baseline> {
  const [who] = await query<{ login: string; name: string; defaultSchema: string | null }>(
    'select suser_sname() as login, user_name() as name, schema_name() as defaultSchema',
  )
  const { login = '', name: user = '', defaultSchema } = who ?? {}
  const bypasses: string[] = []
  for (const role of SERVER_ROLES) if (await holds(query, `is_srvrolemember(N'${role}')`)) bypasses.push(`is ${role}`)
  for (const role of DATABASE_ROLES) if (await holds(query, `is_member(N'${role}')`)) bypasses.push(`is ${role}`)
  if (login === adminLogin)
    bypasses.push('is the admin login too: set adminDatabaseUrl and serve with a login of its own')
  for (const right of RIGHTS) {
    if (await holds(query, `has_perms_by_name(db_name(), N'DATABASE', N'${right}')`)) {
      bypasses.push(`has ${right} on the whole database`)
    }
  }
  const breaches = bypasses.map((bypass) => `it ${bypass}`)
  const schema = defaultSchema ?? 'dbo'
  for (const object of await reachable(query, schema)) {
    breaches.push(`a plain name in raw SQL finds ${object}: keep its default schema and dbo empty for it`)
  }
  return Object.freeze({ login, user, defaultSchema: schema, breaches, bypasses })
}

async function holds(query: Query, expression: string): Promise<boolean> {
  const [row] = await query<{ holds: number | null }>(`select ${expression} as holds`)
  return row?.holds === 1
}

/** What an unqualified name can mean: the default schema is looked at first, then dbo. Names of nothing it can read are not shown. */
async function reachable(query: Query, defaultSchema: string): Promise<string[]> {
  const rows = await query<{ name: string }>(
    `select top (3) s.name + N'.' + o.name as name from sys.objects o join sys.schemas s on s.schema_id = o.schema_id
     where s.name in (@p0, N'dbo') and o.is_ms_shipped = 0 and o.type in ('U', 'V')
       and has_perms_by_name(quotename(s.name) + N'.' + quotename(o.name), N'OBJECT', N'SELECT') = 1`,
    [defaultSchema],
  )
  return rows.map(({ name }) => name)
}
