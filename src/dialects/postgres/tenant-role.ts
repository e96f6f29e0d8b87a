import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import { tenancyError } from '../../errors.ts'
import { quoteIdentifier, quoteLiteral } from './quote.ts'
import { moveRights } from './schema-rights.ts'
import { tenantMark } from './tenant-mark.ts'

type Query = AdminConnection['query']

/** What is there under the name of a tenant's role. */
interface FoundRole {
  readonly mark: string | null
  /** Whether it is more than a tenant's role: it can log in, say, or is a member of another. */
  readonly strong: boolean
}

/** SQLSTATE of a right that is missing. */
const INSUFFICIENT = '42501'

/**
 * Makes the role of a tenant if it is not there and gives it what the serving role has in the tenant's schema, which from
 * then on has nothing there; it can become that role, and inherits nothing from it.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS when a role of this name is not marked as this tenant's, TENANCY_ERR_RIGHTS_UNMET
 */
export async function giveTenantRole(query: Query, scope: Scope, servingRole: string): Promise<void> {
  const { namespace } = scope
  const role = quoteIdentifier(namespace)
  const found = await roleOf(query, namespace)
  if (found === undefined) {
    await query(`create role ${role}; comment on role ${role} is ${quoteLiteral(tenantMark(scope))}`)
  } else if (found.mark !== tenantMark(scope)) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [namespace])
  else if (found.strong) throw unmet(`the role ${namespace} of a tenant can log in, or has rights of other roles`)
  await moveRights(query, namespace, servingRole, namespace)
  const { member } = await membership(query, servingRole, namespace)
  if (!member) await query(`grant ${role} to ${quoteIdentifier(servingRole)}`)
  // Who inherits has the rights of all tenants at once, in any of their statements.
  const { inherits } = await membership(query, servingRole, namespace)
  if (inherits) throw unmet(`the serving role ${servingRole} inherits the rights of the roles of tenants`)
}

/** Gives the serving role what the role of a tenant has in this database, if anything, and drops that role. */
export async function takeTenantRole(query: Query, scope: Scope, servingRole: string): Promise<void> {
  if (!(await isOwn(query, scope))) return
  const moved = await moveRights(query, scope.namespace, scope.namespace, servingRole)
  if (moved) await dropTenantRole(query, scope)
}

/**
 * Drops the role of a tenant. One that is not marked as this tenant's is left alone, and so is one that has rights in another
 * database of the server, which is a copy of this one.
 * @returns how many were dropped
 * @throws TENANCY_ERR_DESTROY_INCOMPLETE when the admin role may not drop it
 */
export async function dropTenantRole(query: Query, scope: Scope): Promise<number> {
  if (!(await isOwn(query, scope)) || (await isNeededElsewhere(query, scope.namespace))) return 0
  const role = quoteIdentifier(scope.namespace)
  try {
    // Default rights that tenants gave each other, which anybody may, would keep a role from being dropped.
    await query(`grant ${role} to current_user; drop owned by ${role}; drop role ${role}`)
  } catch (error) {
    if ((error as { code?: unknown }).code !== INSUFFICIENT) throw error
    const reason = `the admin role may not drop the role ${scope.namespace}: it needs CREATEROLE, and to have made it`
    throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [reason], error)
  }
  return 1
}

async function isOwn(query: Query, scope: Scope): Promise<boolean> {
  return (await roleOf(query, scope.namespace))?.mark === tenantMark(scope)
}

async function roleOf(query: Query, role: string): Promise<FoundRole | undefined> {
  const [found] = await query<FoundRole>(
    `select pg_catalog.shobj_description(r.oid, 'pg_authid') as mark,
       r.rolcanlogin or r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication
         or exists (select from pg_catalog.pg_auth_members m where m.member = r.oid) as strong
     from pg_catalog.pg_roles r where r.rolname = $1`,
    [role],
  )
  return found
}

async function membership(query: Query, member: string, role: string) {
  const [found] = await query<{ member: boolean; inherits: boolean }>(
    `select pg_catalog.pg_has_role($1::name, $2::name, 'MEMBER') as member,
       pg_catalog.pg_has_role($1::name, $2::name, 'USAGE') as inherits`,
    [member, role],
  )
  return found ?? { member: false, inherits: true }
}

async function isNeededElsewhere(query: Query, role: string): Promise<boolean> {
  const found = await query(
    `select from pg_catalog.pg_shdepend d join pg_catalog.pg_roles r on r.oid = d.refobjid
     where d.refclassid = 'pg_catalog.pg_authid'::regclass and r.rolname = $1
       and d.dbid not in (0, (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())) limit 1`,
    [role],
  )
  return found.length > 0
}

function unmet(what: string) {
  return tenancyError('TENANCY_ERR_RIGHTS_UNMET', ['tenantRoles', what, '--tenant-roles'])
}
