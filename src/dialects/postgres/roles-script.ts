import { tenancyError } from '../../errors.ts'
import { quoteIdentifier, quoteLiteral } from './quote.ts'
import { RUNS_TEXT } from './text-functions.ts'

/** Names for {@link rolesScript}. */
export interface RolesScriptOptions {
  readonly database: string
  /** Role of `databaseUrl`: serves tenants, reaches nothing without a scope. */
  readonly servingRole: string
  /** Role of `adminDatabaseUrl`: DDL and the registry. */
  readonly adminRole: string
  /** Default `extensions`. */
  readonly extensionsSchema?: string
  /** Whether tenants get databases of their own, which the admin role makes and drops. Default false. */
  readonly tenantDatabases?: boolean
  /** Whether each tenant gets a role of its own, which the admin role makes and drops. Default false. */
  readonly tenantRoles?: boolean
  /** Whether names are written out and no scope is sent (`schemaScoping: 'qualified'`). Not with `tenantRoles`. Default false. */
  readonly qualified?: boolean
}

/**
 * What PostgreSQL shares between all schemas and lets everybody use: large objects, and what shows other tenants' values
 * (pg_stats) or running statements (pg_stat_activity and the functions behind it). Also what shows the names of a session's prepared
 * statements: that of a scope is a secret.
 */
export const REVOKE_SHARED = `do $tenancy$ declare shared regprocedure; begin
  for shared in select oid from pg_catalog.pg_proc where pronamespace = 'pg_catalog'::regnamespace and (proname ^@ 'lo_' or proname in ('loread', 'lowrite', 'pg_stat_get_activity', 'pg_stat_get_backend_activity', 'pg_prepared_statement')) loop
    execute pg_catalog.format('revoke execute on function %s from public', shared);
  end loop;
end $tenancy$;
revoke select on pg_catalog.pg_stats, pg_catalog.pg_stats_ext, pg_catalog.pg_stats_ext_exprs, pg_catalog.pg_largeobject_metadata, pg_catalog.pg_stat_activity from public;`

/** Quotes the body of DO. */
const TAG = '$tenancy$'

/**
 * SQL that sets up the baseline rule: *without a scope the serving role reaches nothing*. Run once per database by its
 * owner or a superuser, connected to that database; running it again changes nothing. It sets no passwords.
 */
export function rolesScript({
  database,
  servingRole,
  adminRole,
  extensionsSchema = 'extensions',
  tenantDatabases = false,
  tenantRoles = false,
  qualified = false,
}: RolesScriptOptions): string {
  const names = [database, servingRole, adminRole, extensionsSchema]
  if (names.some((name) => name.includes(TAG)))
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [`a name contains ${TAG}`])
  const [db, serving, admin, extensions] = names.map(quoteIdentifier) as [string, string, string, string]
  return `-- fastify-tenancy: two roles, two rights. Without a scope the serving role reaches nothing.
do ${TAG} begin
  if pg_catalog.current_database() <> ${quoteLiteral(database)} then
    raise exception 'this script is for the database %, you are connected to %', ${quoteLiteral(database)}, pg_catalog.current_database();
  end if;
  if exists (select from pg_catalog.pg_roles where rolname = ${quoteLiteral(servingRole)} and rolsuper) then
    raise exception 'the role % is a superuser, whom nothing confines: serve with a role of its own', ${quoteLiteral(servingRole)};
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = ${quoteLiteral(adminRole)}) then create role ${admin} login; end if;
  if not exists (select from pg_catalog.pg_roles where rolname = ${quoteLiteral(servingRole)}) then create role ${serving} login; end if;
  if exists (select from pg_catalog.pg_roles where rolname = ${quoteLiteral(servingRole)} and (rolbypassrls or rolcreatedb or rolcreaterole)) then
    alter role ${serving} nobypassrls nocreatedb nocreaterole;
  end if;
end ${TAG};
alter role ${serving} in database ${db} set search_path to '';
revoke all on database ${db} from public;
revoke all on database ${db} from ${serving};
grant connect on database ${db} to ${serving};
grant connect, create, temporary on database ${db} to ${admin};
revoke all on schema public from public;
revoke all on schema public from ${serving};
${REVOKE_SHARED}
grant select on pg_catalog.pg_stats, pg_catalog.pg_largeobject_metadata to ${admin};
grant select on pg_catalog.pg_stat_activity to ${admin}, pg_read_all_stats;
grant execute on function pg_catalog.pg_stat_get_activity(integer), pg_catalog.pg_stat_get_backend_activity(integer) to ${admin}, pg_read_all_stats;
create schema if not exists ${extensions};
revoke all on schema ${extensions} from public;
grant usage on schema ${extensions} to ${serving}, ${admin};
${tenantDatabases ? databaseRights(serving, admin) : ''}${tenantRoles ? roleRights(serving, admin, extensions) : ''}${qualified ? quietRights({ servingRole, serving, admin }) : ''}`
}

/** What nobody but `who` may do: change the session from within a statement. */
function sessionLocks(who: readonly string[], blocks: string): string {
  const setConfig = 'function pg_catalog.set_config(text, text, boolean)'
  return `revoke execute on ${setConfig} from public;
grant execute on ${setConfig} to ${who.join(', ')};
do $tenancy$ declare trusted text; begin
  for trusted in select lanname from pg_catalog.pg_language where lanpltrusted and laninline <> 0 loop
    execute pg_catalog.format('revoke usage on language %I from public', trusted);
    execute pg_catalog.format('grant usage on language %I to %s', trusted, ${quoteLiteral(blocks)});
  end loop;
end $tenancy$;
`
}

/** Takes from `holders` the functions that run any text and are there now, as far as `who` may call them. */
function revokeTextFunctions(who: string, holders: string): string {
  return `do $tenancy$ declare runs regprocedure; begin
  for runs in select p.oid from pg_catalog.pg_proc p where ${RUNS_TEXT} and pg_catalog.has_function_privilege(${quoteLiteral(who)}::name, p.oid, 'EXECUTE') loop
    execute pg_catalog.format('revoke execute on function %s from %s', runs, ${quoteLiteral(holders)});
  end loop;
end $tenancy$;
`
}

/** What keeps a statement of one tenant from changing the search path of the next: no scope would put it right. */
function quietRights({ servingRole, serving, admin }: Record<'servingRole' | 'serving' | 'admin', string>): string {
  return `${sessionLocks([admin], admin)}revoke execute on function pg_catalog.set_config(text, text, boolean) from ${serving};
${revokeTextFunctions(servingRole, `public, ${serving}`)}`
}

/** What makes roles of tenants a wall, and what the admin role needs to make them. */
export function roleRights(serving: string, admin: string, extensions: string): string {
  return `alter role ${admin} createrole;
alter role ${serving} noinherit;
grant usage on schema ${extensions} to public;
${sessionLocks([serving, admin], admin)}${revokeTextFunctions('public', 'public')}`
}

/** What the admin role needs to give each tenant a database, and to drop one that the serving role is connected to. */
function databaseRights(serving: string, admin: string): string {
  return `alter role ${admin} createdb;
grant ${serving} to ${admin};
`
}
