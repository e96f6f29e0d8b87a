import type { AdminConnection } from '../../contracts/dialect.ts'
import type { DatabaseAccess } from './tenant-database.ts'

type Query = AdminConnection['query']

interface Rights {
  readonly role: string
  readonly superuser: boolean
  readonly creates: boolean
  readonly ends_sessions: boolean
  /** Absent when there is no such template. */
  readonly copies: boolean | null
  readonly enters: boolean | null
}

/**
 * One sentence for everything that keeps the admin role from giving each tenant a database in which the serving role
 * reaches nothing without a scope.
 */
export async function databaseWarnings(
  query: Query,
  { inside, rights: { servingRole }, template }: Pick<DatabaseAccess, 'inside' | 'rights' | 'template'>,
): Promise<string[]> {
  const [rights] = await query<Rights>(
    `select r.rolname::text as role, r.rolsuper as superuser, r.rolcreatedb or r.rolsuper as creates,
       coalesce(pg_catalog.pg_has_role($2::name, 'USAGE'), true) or pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') as ends_sessions,
       d.datistemplate or pg_catalog.pg_has_role(d.datdba, 'USAGE') as copies, d.datallowconn as enters
     from pg_catalog.pg_roles r left join pg_catalog.pg_database d on d.datname = $1 where r.rolname = current_user`,
    [template, servingRole ?? null],
  )
  if (rights === undefined) return []
  const { role, creates, ends_sessions: ends, copies } = rights
  const cannot = (what: string) => `Databases of tenants: the admin role ${JSON.stringify(role)} cannot ${what}.`
  const warnings: string[] = []
  if (!creates) warnings.push(cannot('create databases; give it CREATEDB'))
  if (!ends) warnings.push(cannot('end sessions of the serving role, so it cannot drop a database that is in use'))
  if (copies !== true) warnings.push(cannot(`copy the template ${JSON.stringify(template)}, or it does not exist`))
  else if (servingRole !== undefined && (await showsActivity(rights, inside, template, servingRole))) {
    warnings.push(
      `Databases of tenants: in a copy of ${JSON.stringify(template)} the serving role ${JSON.stringify(servingRole)} can read pg_stat_activity, which shows statements of all tenants. Use a \`databaseTemplate\` that \`fastify-tenancy roles\` was run in.`,
    )
  }
  return warnings
}

/** Whether statements of other tenants could be read in a copy. A superuser takes that right away in each of them. */
async function showsActivity(
  { superuser, enters }: Rights,
  inside: DatabaseAccess['inside'],
  template: string,
  servingRole: string,
): Promise<boolean> {
  if (superuser) return false
  if (enters !== true) return true
  const ask = (query: Query) =>
    query<{ shown: boolean }>(
      `select pg_catalog.has_table_privilege($1::name, 'pg_catalog.pg_stat_activity', 'SELECT')
         or pg_catalog.has_function_privilege($1::name, 'pg_catalog.pg_stat_get_activity(integer)', 'EXECUTE')
         or pg_catalog.has_function_privilege($1::name, 'pg_catalog.pg_stat_get_backend_activity(integer)', 'EXECUTE') as shown`,
      [servingRole],
    )
  const [row] = await inside(template, ask).catch(() => [])
  return row?.shown ?? true
}
