import type { AdminConnection } from '../../contracts/dialect.ts'
import { tenancyError } from '../../errors.ts'
import type { Baseline } from './baseline.ts'
import { suspiciousFunctions, textFunctions } from './text-functions.ts'

/** What SQL of tenants may do to the session that it runs in. Whoever changes that from within a statement is past any scope. */
interface SessionRights {
  /** Whether they may call `set_config`, which also is what UPDATE of `pg_settings` does. */
  readonly sets: boolean
  /** Languages they may write a DO block in; a block can do anything a session can. */
  readonly languages: readonly string[]
  readonly temporary: boolean
  readonly creates: boolean
  /** Schemas in which they may make functions. */
  readonly creates_in: readonly string[]
}

interface TenantRoleRights extends SessionRights {
  readonly serving_sets: boolean
  readonly inherits: readonly string[]
  readonly extensions: boolean
  readonly admin_creates: boolean
}

/**
 * Sees that roles of tenants are a wall.
 * @returns warnings about functions that may be a hole in it
 * @throws TENANCY_ERR_RIGHTS_UNMET
 */
export async function assertWall(
  query: AdminConnection['query'],
  { bypasses }: Pick<Baseline, 'bypasses'>,
  options: WallOptions,
): Promise<string[]> {
  const unmet = [...bypasses, ...(await unmetForTenantRoles(query, options))]
  unmet.push(...mustNotCall('everybody', 'public', await textFunctions({ query, who: EVERYBODY })))
  if (unmet.length > 0)
    throw tenancyError('TENANCY_ERR_RIGHTS_UNMET', ['tenantRoles', unmet.join('; '), '--tenant-roles'])
  return warnOf(
    await suspiciousFunctions({ query, who: EVERYBODY }),
    'tenantRoles',
    'runs with the rights of its owner, or runs text it is given, is a hole in the wall',
  )
}

/**
 * Sees that no tenant can leave another one a search path: that the serving connection begins with `path`, whatever its role is
 * set to, and that only a plain SET changes it, which the server tells us of.
 * @returns warnings about functions that may change it unseen
 * @throws TENANCY_ERR_RIGHTS_UNMET
 */
export async function assertQuiet(query: AdminConnection['query'], path: readonly string[]): Promise<string[]> {
  const [found] = await query<SessionRights>(`select ${sessionRights('current_user')}`)
  const unmet = found === undefined ? ['the serving role cannot be asked'] : unmetOf(found, 'the serving role')
  if (!(await beginsWith(query, path)))
    unmet.push('its connections do not begin with the search_path that we ask for; connect without a pooler')
  const runners = await textFunctions({ query, who: 'current_user' })
  unmet.push(...mustNotCall('the serving role', 'public and the serving role', runners))
  if (unmet.length > 0)
    throw tenancyError('TENANCY_ERR_RIGHTS_UNMET', ["schemaScoping: 'qualified'", unmet.join('; '), '--qualified'])
  return warnOf(
    await suspiciousFunctions({ query, who: 'current_user' }),
    'schemaScoping',
    'runs text it is given can change the search_path of the next tenant',
  )
}

/** Whether a connection begins with this path. A pooler that swallows the options of one leaves it what the role is set to. */
export async function beginsWith(query: AdminConnection['query'], path: readonly string[]): Promise<boolean> {
  const [found] = await query<{ path: string; source: string }>(
    `select setting as path, source from pg_catalog.pg_settings where name = 'search_path'`,
  )
  return found?.source === 'client' && found.path === path.join(',')
}

/**
 * Whether nothing that runs on the serving connection can read the names of its prepared statements, whichever role it takes on.
 * A view asks for the right to call its functions of whoever reads it.
 */
export async function hidesNames(query: AdminConnection['query']): Promise<boolean> {
  const [found] = await query<{ shown: boolean }>(
    `select exists (select from pg_catalog.pg_roles where pg_catalog.pg_has_role(oid, 'MEMBER')
       and pg_catalog.has_function_privilege(oid, 'pg_catalog.pg_prepared_statement()', 'EXECUTE')) as shown`,
  )
  return found?.shown === false
}

/** Names that the wall depends on. */
interface WallOptions {
  readonly extensionsSchema: string
  readonly adminRole: string
}

/**
 * One sentence for everything that must be otherwise for roles of tenants to be a wall, asked through the serving connection.
 * Tenants' roles have what PUBLIC has and their schema.
 */
async function unmetForTenantRoles(
  query: AdminConnection['query'],
  { extensionsSchema, adminRole }: WallOptions,
): Promise<string[]> {
  const [found] = await query<TenantRoleRights>(
    `select ${sessionRights(EVERYBODY)},
       pg_catalog.has_function_privilege(${SET_CONFIG}, 'EXECUTE') as serving_sets,
       array(select rolname::text from pg_catalog.pg_roles where rolname <> current_user and pg_catalog.pg_has_role(oid, 'USAGE') order by 1 limit 3) as inherits,
       coalesce((select pg_catalog.has_schema_privilege('public', oid, 'USAGE') from pg_catalog.pg_namespace where nspname = $1), false) as extensions,
       coalesce((select rolcreaterole or rolsuper from pg_catalog.pg_roles where rolname = $2), false) as admin_creates`,
    [extensionsSchema, adminRole],
  )
  if (found === undefined) return ['the serving role cannot be asked']
  const unmet = unmetOf(found, 'everybody')
  if (!found.serving_sets)
    unmet.push('the serving role may not call set_config, with which it becomes the role of a tenant')
  if (found.inherits.length > 0) unmet.push(`the serving role inherits the rights of ${found.inherits.join(', ')}`)
  if (!found.extensions) unmet.push(`not everybody may use the schema ${extensionsSchema}`)
  if (!found.admin_creates) unmet.push(`the admin role ${adminRole} has no CREATEROLE`)
  return unmet
}

/** As PostgreSQL knows them where it asks for the name of a role. */
const EVERYBODY = `'public'`

const SET_CONFIG = `'pg_catalog.set_config(text, text, boolean)'`

function warnOf(functions: readonly string[], option: string, danger: string): string[] {
  return functions.length === 0 ? [] : [`${option}: every tenant can call ${functions.join(', ')}. What ${danger}.`]
}

/** Enough to know which extension it is; the script revokes all. */
const NAMED = 3

function mustNotCall(who: string, holders: string, functions: readonly string[]): string[] {
  if (functions.length === 0) return []
  const named = [...functions.slice(0, NAMED), ...(functions.length > NAMED ? ['…'] : [])].join(', ')
  return [`${who} may run any text, SET too: revoke execute on function ${named} from ${holders}`]
}

function sessionRights(who: string): string {
  return `pg_catalog.has_function_privilege(${who}::name, ${SET_CONFIG}, 'EXECUTE') as sets,
    array(select lanname::text from pg_catalog.pg_language where lanpltrusted and laninline <> 0 and pg_catalog.has_language_privilege(${who}::name, oid, 'USAGE')) as languages,
    pg_catalog.has_database_privilege(${who}::name, pg_catalog.current_database(), 'TEMPORARY') as temporary,
    pg_catalog.has_database_privilege(${who}::name, pg_catalog.current_database(), 'CREATE') as creates,
    array(select nspname::text from pg_catalog.pg_namespace where pg_catalog.has_schema_privilege(${who}::name, oid, 'CREATE')) as creates_in`
}

function unmetOf(found: SessionRights, who: string): string[] {
  const unmet: string[] = []
  if (found.sets) unmet.push(`${who} may call set_config`)
  if (found.languages.length > 0) unmet.push(`${who} may run DO blocks in ${found.languages.join(', ')}`)
  if (found.temporary) unmet.push(`${who} may make temporary objects, functions too`)
  if (found.creates) unmet.push(`${who} may make schemas in the database`)
  if (found.creates_in.length > 0) unmet.push(`${who} may make functions in the schema ${found.creates_in.join(', ')}`)
  return unmet
}
