import type { AdminConnection } from '../../contracts/dialect.ts'
import { quoteText } from './quote.ts'

type Query = AdminConnection['query']

/** Roles whose members do, see or bypass what no serving login may. */
const SERVER_ROLES = [
  'sysadmin',
  'securityadmin',
  'serveradmin',
  'setupadmin',
  'processadmin',
  'dbcreator',
  'bulkadmin',
]
const DATABASE_ROLES = [
  'db_owner',
  'db_ddladmin',
  'db_securityadmin',
  'db_accessadmin',
  'db_datareader',
  'db_datawriter',
  'db_backupoperator',
]
/** Rights on the whole server. */
const SERVER_RIGHTS = [
  'CONTROL SERVER',
  'ALTER ANY LOGIN',
  'ALTER ANY DATABASE',
  'IMPERSONATE ANY LOGIN',
  'SELECT ALL USER SECURABLES',
  'VIEW SERVER STATE',
]
/** Rights on the whole database. */
const DATABASE_RIGHTS = [
  'CONTROL',
  'ALTER',
  'TAKE OWNERSHIP',
  'SELECT',
  'INSERT',
  'UPDATE',
  'DELETE',
  'EXECUTE',
  'REFERENCES',
  'ALTER ANY SECURITY POLICY',
  'ALTER ANY SCHEMA',
  'ALTER ANY USER',
  'ALTER ANY ROLE',
  'CREATE SCHEMA',
  'CREATE TABLE',
  'CREATE VIEW',
  'CREATE PROCEDURE',
  'CREATE FUNCTION',
  'CREATE SYNONYM',
  'VIEW DATABASE STATE',
]

/** What the serving login could do without a tenant. */
export interface Baseline {
  readonly login: string
  readonly user: string
  readonly defaultSchema: string
  /** The rights by which it could step past what keeps tenants apart, such as security policies. */
  readonly bypasses: readonly string[]
  /** What a plain name in raw SQL finds. */
  readonly reachable: readonly string[]
  /** Both as sentences. */
  readonly breaches: readonly string[]
}

/** Asks the serving login what it could do without a tenant, as itself. The right answer is: nothing. */
export async function checkBaseline(query: Query, adminLogin: string): Promise<Baseline> {
  const [who] = await query<{ login: string; name: string; defaultSchema: string | null }>(
    'select suser_sname() as login, user_name() as name, schema_name() as defaultSchema',
  )
  const { login = '', name: user = '', defaultSchema } = who ?? {}
  const schema = defaultSchema ?? 'dbo'
  const bypasses = [
    ...(await held(query, SERVER_ROLES, 'is_srvrolemember(v.name)')).map((role) => `is ${role}`),
    ...(await held(query, DATABASE_ROLES, 'is_member(v.name)')).map((role) => `is ${role}`),
    ...(login === adminLogin ? ['is the admin login too: set adminDatabaseUrl and serve with a login of its own'] : []),
    ...(await held(query, SERVER_RIGHTS, 'has_perms_by_name(null, null, v.name)')).map(
      (right) => `has ${right} on the server`,
    ),
    ...(await held(query, DATABASE_RIGHTS, "has_perms_by_name(db_name(), N'DATABASE', v.name)")).map(
      (right) => `has ${right} on the whole database`,
    ),
    ...(await impersonated(query, 'USER')).map((name) => `can become the user ${name}`),
    ...(await impersonated(query, 'LOGIN')).map((name) => `can become the login ${name}`),
  ]
  const reachable = await reachableBy(query, schema)
  return Object.freeze({
    login,
    user,
    defaultSchema: schema,
    bypasses,
    reachable,
    breaches: [
      ...bypasses.map((bypass) => `it ${bypass}`),
      ...reachable.map(
        (object) => `a plain name in raw SQL finds ${object}: keep its default schema and dbo empty for it`,
      ),
    ],
  })
}

/** Those of `names` of which `expression`, about `v.name`, is 1; it is null for what this version of the server does not know. */
async function held(query: Query, names: readonly string[], expression: string): Promise<string[]> {
  const values = names.map((name) => `(${quoteText(name)})`).join(', ')
  const rows = await query<{ name: string }>(
    `select v.name as name from (values ${values}) v(name) where ${expression} = 1`,
  )
  return rows.map(({ name }) => name)
}

/** Some of those that it may EXECUTE AS. Who has rights on nobody else is shown nobody else. */
async function impersonated(query: Query, kind: 'USER' | 'LOGIN'): Promise<string[]> {
  const [from, self] =
    kind === 'USER' ? ['sys.database_principals', 'user_name()'] : ['sys.server_principals', 'suser_sname()']
  // A single database in the cloud has no logins.
  const known = await query(`select 1 as found where object_id(${quoteText(from)}) is not null`)
  if (known.length === 0) return []
  const rows = await query<{ name: string }>(
    `select top (3) name from ${from} where type in ('S', 'U', 'E') and name <> ${self}
       and has_perms_by_name(quotename(name), N'${kind}', N'IMPERSONATE') = 1`,
  )
  return rows.map(({ name }) => name)
}

/** What an unqualified name can mean: the default schema is looked at first, then dbo. Names of nothing it can read are not shown. */
async function reachableBy(query: Query, defaultSchema: string): Promise<string[]> {
  const rows = await query<{ name: string }>(
    `select top (3) s.name + N'.' + o.name as name from sys.objects o join sys.schemas s on s.schema_id = o.schema_id
     where s.name in (@p0, N'dbo') and o.is_ms_shipped = 0 and o.type in ('U', 'V', 'SN', 'IF', 'TF')
       and has_perms_by_name(quotename(s.name) + N'.' + quotename(o.name), N'OBJECT', N'SELECT') = 1`,
    [defaultSchema],
  )
  return rows.map(({ name }) => name)
}
