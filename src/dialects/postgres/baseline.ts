import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Severity } from '../../contracts/verification.ts'
import { tenancyError } from '../../errors.ts'
import type { RuleId } from '../../verification/rules.ts'

/** What the serving connection can reach without a scope, asked through that connection. */
interface BaselineRow {
  readonly role: string
  readonly superuser: boolean
  readonly bypassrls: boolean
  readonly replication: boolean
  readonly createrole: boolean
  readonly reads_all: boolean
  readonly creates: boolean
  readonly extensions_create: boolean
  readonly path: readonly string[]
  readonly temporary: boolean
  readonly public_usage: boolean
  readonly registry_usage: boolean
  readonly administers: boolean
  readonly owns_shared: boolean
  readonly stronger: readonly string[]
  readonly large_objects: boolean
  readonly statistics: boolean
  readonly activity: boolean
}

/** The result of {@link checkBaseline}. */
export interface Baseline {
  readonly role: string
  /** One sentence for every way in which the role reaches something without a scope. */
  readonly breaches: readonly string[]
  /** Those of them that row policies do not bind. */
  readonly bypasses: readonly string[]
  /** All of them, by the rule of the doctor that each breaks. */
  readonly broken: readonly Broken[]
}

interface Broken {
  readonly rule: RuleId
  readonly detail: string
  /** Milder than the rule. */
  readonly severity?: Severity
}

/** Names the check needs. */
export interface BaselineOptions {
  readonly registrySchema: string
  readonly adminRole: string
  readonly extensionsSchema: string
  /** Tables of tenants that are told apart by row policies. */
  readonly rlsSchema: string
}

/** Asks the serving connection what it could do without a tenant. The right answer is: nothing. */
export async function checkBaseline(
  query: AdminConnection['query'],
  { registrySchema, adminRole, extensionsSchema, rlsSchema }: BaselineOptions,
): Promise<Baseline> {
  const [row] = await query<BaselineRow>(
    `select r.rolname::text as role, r.rolsuper as superuser, r.rolbypassrls as bypassrls, r.rolcreaterole as createrole, r.rolreplication as replication,
       (select coalesce(bool_or(pg_catalog.pg_has_role(r.oid, p.oid, 'MEMBER')), false) from pg_catalog.pg_roles p where p.rolname in ('pg_read_all_data', 'pg_write_all_data')) as reads_all,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') as creates,
       coalesce((select pg_catalog.has_schema_privilege(oid, 'CREATE') from pg_catalog.pg_namespace where nspname = $3), false) as extensions_create,
       pg_catalog.current_schemas(false)::text[] as path,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') as temporary,
       coalesce((select pg_catalog.has_schema_privilege(oid, 'USAGE') from pg_catalog.pg_namespace where nspname = 'public'), false) as public_usage,
       coalesce((select pg_catalog.has_schema_privilege(oid, 'USAGE') from pg_catalog.pg_namespace where nspname = $1), false) as registry_usage,
       pg_catalog.has_function_privilege('pg_catalog.lo_get(oid)', 'EXECUTE') as large_objects,
       pg_catalog.has_table_privilege('pg_catalog.pg_stats', 'SELECT') as statistics,
       pg_catalog.has_table_privilege('pg_catalog.pg_stat_activity', 'SELECT')
         or pg_catalog.has_function_privilege('pg_catalog.pg_stat_get_activity(integer)', 'EXECUTE')
         or pg_catalog.has_function_privilege('pg_catalog.pg_stat_get_backend_activity(integer)', 'EXECUTE') as activity,
       r.rolname <> $2 and pg_catalog.pg_has_role(r.oid, (select oid from pg_catalog.pg_roles where rolname = $2), 'MEMBER') as administers,
       exists (select from pg_catalog.pg_class c where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $4)
         and pg_catalog.pg_has_role(r.oid, c.relowner, 'MEMBER')) as owns_shared,
       array(select s.rolname::text from pg_catalog.pg_roles s where s.oid <> r.oid and pg_catalog.pg_has_role(r.oid, s.oid, 'MEMBER')
         and (s.rolsuper or s.rolbypassrls or s.rolname in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')) order by 1) as stronger
     from pg_catalog.pg_roles r where r.rolname = current_user`,
    [registrySchema, adminRole, extensionsSchema, rlsSchema],
  )
  if (row === undefined) return baselineOf('', [], [{ rule: 'base-1', detail: 'the serving role is not in pg_roles' }])
  // It is on every path, and what is there is nobody's.
  const path = row.path.filter((schema) => schema !== extensionsSchema)
  return baselineOf(row.role, bypassesOf(row, adminRole), breachesOf({ ...row, path }))
}

/**
 * Row policies bind neither a superuser nor BYPASSRLS, an owner can switch them off, and some roles can become one of
 * these: nobody is served then.
 * https://www.postgresql.org/docs/current/ddl-rowsecurity.html
 * @throws TENANCY_ERR_RLS_BYPASSED
 */
export function refuseBypass({ role, bypasses }: Baseline): void {
  if (bypasses.length > 0) throw tenancyError('TENANCY_ERR_RLS_BYPASSED', [JSON.stringify(role), bypasses.join('; ')])
}

function baselineOf(role: string, bypasses: readonly Broken[], others: readonly Broken[]): Baseline {
  const broken = [...bypasses, ...others]
  const told = (list: readonly Broken[]) => list.map(({ detail }) => detail)
  return { role, broken, breaches: told(broken), bypasses: told(bypasses) }
}

function bypassesOf(row: BaselineRow, adminRole: string): Broken[] {
  const bypasses: Broken[] = []
  const add = (detail: string, rule: RuleId = 'rls-1') => bypasses.push({ rule, detail })
  if (row.role === adminRole)
    add('it is the admin role too: set adminDatabaseUrl and serve with a role of its own', 'schema-15')
  if (row.superuser) {
    add('it is a superuser')
    return bypasses
  }
  if (row.bypassrls) add('it has BYPASSRLS')
  if (row.administers) add('it is a member of the admin role')
  if (row.owns_shared) add('it owns tables of the shared schema, or is a member of the role that does')
  if (row.stronger.length > 0) add(`it is a member of ${row.stronger.join(', ')}`)
  // Before PostgreSQL 16 such a role can make itself a member of any other.
  if (row.createrole) add('it has CREATEROLE')
  // The decoded log has everybody's rows.
  if (row.replication) add('it has REPLICATION')
  return bypasses
}

function breachesOf(row: BaselineRow): Broken[] {
  const breaches: Broken[] = []
  const add = (detail: string, rule: RuleId = 'base-1', severity?: Severity) =>
    breaches.push({ rule, detail, ...(severity !== undefined && { severity }) })
  if (row.reads_all) add('it is a member of pg_read_all_data or pg_write_all_data', 'base-1', 'error')
  if (row.creates) add('it can create schemas in the database')
  if (row.extensions_create)
    add('it can create objects in the extensions schema, which is on every path', 'schema-5', 'error')
  if (row.path.length > 0) add(`its search_path is not empty (${row.path.join(', ')})`, 'schema-1')
  if (row.public_usage) add('it can use the schema public', 'schema-4', 'warning')
  if (row.registry_usage) add('it can use the schema of the tenant registry')
  if (row.large_objects) add('it can use large objects, which belong to no schema')
  if (row.statistics) add('it can read pg_stats, which shows values of all tenants')
  if (row.activity)
    add('it can read pg_stat_activity, or call a function behind it, which shows statements of all tenants')
  if (row.temporary) add('it can create temporary tables', 'schema-3')
  return breaches
}
