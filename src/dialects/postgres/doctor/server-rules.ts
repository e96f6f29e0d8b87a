import type { AdminConnection } from '../../../contracts/dialect.ts'
import { TENANT_SETTING } from '../../../contracts/isolation.ts'
import type { Finding } from '../../../contracts/verification.ts'
import { finding, type RuleId } from '../../../verification/rules.ts'

type Query = AdminConnection['query']

/** The rules that {@link serverFindings} looks at. */
export const SERVER_RULES: readonly RuleId[] = ['rls-17', 'rls-18', 'rls-25', 'schema-17']

/** First minor versions with the fix of CVE-2025-8713, by major; later majors have it, earlier ones get none. */
const FIXED: Readonly<Record<number, number>> = { 13: 22, 14: 19, 15: 14, 16: 10, 17: 6 }

interface ServerRow {
  readonly version: number
  readonly shown: string
  readonly tables: number
  readonly locks: number
}

/** What the server itself, and settings of roles and of the database, have against isolation. */
export async function serverFindings(query: Query, role: string): Promise<Finding[]> {
  const [server] = await query<ServerRow>(
    `select pg_catalog.current_setting('server_version_num')::int as version, pg_catalog.current_setting('server_version') as shown,
       (select pg_catalog.count(*)::int from pg_catalog.pg_class where relkind in ('r', 'p') and relnamespace not in
         (select oid from pg_catalog.pg_namespace where nspname ^@ 'pg_' or nspname = 'information_schema')) as tables,
       pg_catalog.current_setting('max_locks_per_transaction')::int *
         (pg_catalog.current_setting('max_connections')::int + pg_catalog.current_setting('max_prepared_transactions')::int) as locks`,
  )
  return server === undefined
    ? []
    : [...versionFindings(server), ...lockFindings(server), ...(await settingFindings(query, role))]
}

/** Whether the server's version has the fixes. */
export function versionFindings({ version, shown }: Pick<ServerRow, 'version' | 'shown'>): Finding[] {
  const [major, minor] = [Math.floor(version / 10_000), version % 10_000]
  const fixed = FIXED[major]
  if (major > 17 || (fixed !== undefined && minor >= fixed)) return []
  const first = fixed === undefined ? 'no longer gets any' : `has them since ${major}.${fixed}`
  return [finding('rls-17', `PostgreSQL ${shown}`, `the server lacks security fixes; PostgreSQL ${major} ${first}`)]
}

/** Whether all tables can be locked at once, with a fifth in reserve. */
export function lockFindings({ tables, locks }: Pick<ServerRow, 'tables' | 'locks'>): Finding[] {
  if (tables <= locks * 0.8) return []
  return [finding('schema-17', 'max_locks_per_transaction', `there are ${tables} tables and room for ${locks} locks`)]
}

/** Settings that a role or the database has by default, for who serves. */
async function settingFindings(query: Query, role: string): Promise<Finding[]> {
  const rows = await query<{ owner: string; name: string; off: boolean }>(
    `select coalesce(r.rolname::text, 'the database') as owner, pg_catalog.split_part(one, '=', 1) as name,
       pg_catalog.lower(pg_catalog.split_part(one, '=', 2)) in ('off', 'false', 'no', '0') as off
     from pg_catalog.pg_db_role_setting s cross join lateral pg_catalog.unnest(s.setconfig) one
     left join pg_catalog.pg_roles r on r.oid = s.setrole left join pg_catalog.pg_database d on d.oid = s.setdatabase
     where (s.setrole = 0 or r.rolname = $1) and (s.setdatabase = 0 or d.datname = pg_catalog.current_database())`,
    [role],
  )
  return rows.flatMap(({ owner, name, off }) => [
    ...(name === TENANT_SETTING ? [finding('rls-18', owner, `${name} has a value for ${owner} by default`)] : []),
    ...(name === 'row_security' && off ? [finding('rls-25', owner, `row_security is off for ${owner}`)] : []),
  ])
}
