import type { AdminConnection, DestroyReport } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import type { NamespaceSession } from '../../contracts/migrator.ts'
import { tenancyError } from '../../errors.ts'
import { type NamespaceRights, openNamespaceSession } from './namespace-session.ts'
import { quoteIdentifier, quoteLiteral } from './quote.ts'
import { REVOKE_SHARED } from './roles-script.ts'
import { tenantMark } from './tenant-mark.ts'

type Query = AdminConnection['query']

/** How databases of tenants are made and reached, with the admin rights. */
export interface DatabaseAccess {
  /** One session on the main database, outside of transactions, under an advisory lock of this name. */
  underLock<T>(lock: string, work: (query: Query) => Promise<T>): Promise<T>
  /** One transaction inside another database. */
  inside<T>(database: string, work: (query: Query) => Promise<T>): Promise<T>
  /** Closes what this process keeps open to a database. */
  forget(database: string): void
  readonly rights: NamespaceRights
  /** What new databases are copied from. */
  readonly template: string
}

/** What is there under the name of a tenant's database. */
interface FoundDatabase {
  readonly mark: string | null
  readonly open: boolean
  readonly own: boolean
  /** Whether the serving role may enter. */
  readonly served: boolean
}

/** What a new database has brought from its template. */
interface InnerState {
  readonly superuser: boolean
  /** Whether the tenant's schema is there already. */
  readonly made: boolean
  /** Whether a schema of ours is there, and so somebody's rows. */
  readonly used: boolean
  /** Whether we may shut `public`. */
  readonly public: boolean
  /** Whether we may grant the schema of extensions; null where there is none. */
  readonly extensions: boolean | null
}

const NOTHING: DestroyReport = Object.freeze({ objects: 0, rows: 0 })

/** Errors of DROP DATABASE that say who is in the way: sessions, or missing rights to end them. */
const IN_THE_WAY = new Set(['55006', '42501'])

/**
 * Runs `work` in the database of a scope, which is made if it is not there. When `work` fails, a database that this very
 * call made is dropped again. The lock is on the main database and held for the whole time.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS when there is a database of this name that is not marked as this tenant's
 */
export function inDatabase<T>(
  access: DatabaseAccess,
  scope: Scope,
  work: (session: NamespaceSession) => Promise<T>,
): Promise<T> {
  const { namespace } = scope
  return locked(access, scope, async (query) => {
    const found = await find(query, namespace, access.rights)
    if (found !== undefined && !isHalfMade(found)) assertMarked(found, scope)
    // Somebody may serve with another role than the database was made for.
    if (found?.served === false) await query(entry(namespace, access.rights.servingRole ?? ''))
    if (found === undefined) await query(creation(namespace, access.template))
    try {
      if (found === undefined || isHalfMade(found)) await query(completion(scope, access.rights))
      return await access.inside(namespace, async (inner) => {
        await prepare(inner, scope, access.rights)
        return work(await openNamespaceSession(inner, scope, access.rights))
      })
    } catch (error) {
      if (found === undefined) await drop(access, query, namespace).catch(() => {})
      throw error
    }
  })
}

/**
 * Drops the database of a scope with everything in it, whoever is connected, and sees that it is gone.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS when it is not marked as this tenant's, TENANCY_ERR_DESTROY_INCOMPLETE
 */
export function dropDatabase(access: DatabaseAccess, scope: Scope): Promise<DestroyReport> {
  const { namespace } = scope
  return locked(access, scope, async (query) => {
    const found = await find(query, namespace, access.rights)
    if (found === undefined) return NOTHING
    assertMarked(found, scope)
    // A database that lets nobody in, or that a drop was cut off in, can still be dropped.
    const objects = await access.inside(namespace, countObjects).catch(() => 0)
    try {
      await drop(access, query, namespace)
    } catch (error) {
      if (!IN_THE_WAY.has(String((error as { code?: unknown }).code))) throw error
      const reason = 'sessions are connected to it that the admin role cannot end; it must be a member of their role'
      throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [reason], error)
    }
    if ((await find(query, namespace, access.rights)) !== undefined) {
      throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', ['the database is still there'])
    }
    return { objects: objects + 1, rows: 0 }
  })
}

function locked<T>(access: DatabaseAccess, { namespace }: Scope, work: (query: Query) => Promise<T>): Promise<T> {
  return access.underLock(`fastify-tenancy:${namespace}`, work)
}

async function find(
  query: Query,
  database: string,
  { servingRole }: NamespaceRights,
): Promise<FoundDatabase | undefined> {
  const [found] = await query<FoundDatabase>(
    `select pg_catalog.shobj_description(oid, 'pg_database') as mark, datallowconn as open,
       pg_catalog.pg_has_role(datdba, 'USAGE') as own,
       coalesce(pg_catalog.has_database_privilege($2::name, oid, 'CONNECT'), true) as served
     from pg_catalog.pg_database where datname = $1`,
    [database, servingRole ?? null],
  )
  return found
}

function assertMarked({ mark }: FoundDatabase, scope: Scope): void {
  if (mark !== tenantMark(scope)) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
}

/**
 * What a crash leaves behind: the mark needs a second statement. Nobody could enter since it was created, so there is
 * nothing in it.
 */
function isHalfMade({ mark, open, own }: FoundDatabase): boolean {
  return mark === null && !open && own
}

/** Closed to all: until it is marked and its rights are set nobody can put anything in. */
function creation(database: string, template: string): string {
  return `create database ${quoteIdentifier(database)} template ${quoteIdentifier(template)} allow_connections false`
}

/** One message is one transaction: a database is marked, shut to strangers and opened, or none of it. */
function completion(scope: Scope, { servingRole }: NamespaceRights): string {
  const database = quoteIdentifier(scope.namespace)
  return [
    `comment on database ${database} is ${quoteLiteral(tenantMark(scope))}`,
    `revoke all on database ${database} from public`,
    ...(servingRole === undefined ? [] : [entry(scope.namespace, servingRole)]),
    // The admin role may not set it for the serving role alone.
    `alter database ${database} set search_path to ''`,
    `alter database ${database} allow_connections true`,
  ].join(';')
}

/** The baseline rule inside: what a template has not brought. In the transaction that makes the tenant's schema. */
async function prepare(query: Query, { namespace }: Scope, { servingRole, shared }: NamespaceRights): Promise<void> {
  const [state] = await query<InnerState>(
    `select (select rolsuper from pg_catalog.pg_roles where rolname = current_user) as superuser,
       exists (select from pg_catalog.pg_namespace where nspname = $1) as made,
       exists (select from pg_catalog.pg_namespace n
         where pg_catalog.starts_with(pg_catalog.obj_description(n.oid, 'pg_namespace'), 'fastify-tenancy ')) as used,
       coalesce((select pg_catalog.pg_has_role(nspowner, 'USAGE') from pg_catalog.pg_namespace where nspname = 'public'), false) as public,
       (select pg_catalog.pg_has_role(nspowner, 'USAGE') from pg_catalog.pg_namespace where nspname = $2) as extensions`,
    [namespace, shared.extensionsSchema],
  )
  if (state === undefined || state.made) return
  if (state.used) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      '- databaseTemplate: a tenant is in it, whose rows would be in every new database. Use a template that only extensions and rights are in.',
    ])
  }
  const extensions = quoteIdentifier(shared.extensionsSchema)
  if (state.public) await query('revoke all on schema public from public')
  if (state.extensions === null) await query(`create schema ${extensions}`)
  // One that the template's owner made has the rights that they gave it.
  if (state.extensions !== false && servingRole !== undefined) {
    await query(`grant usage on schema ${extensions} to ${quoteIdentifier(servingRole)}`)
  }
  if (state.superuser) await query(REVOKE_SHARED)
}

async function drop(access: DatabaseAccess, query: Query, database: string): Promise<void> {
  access.forget(database)
  await query(`drop database if exists ${quoteIdentifier(database)} with (force)`)
}

async function countObjects(query: Query): Promise<number> {
  const [row] = await query<{ objects: number }>(
    `select pg_catalog.count(*)::int as objects from pg_catalog.pg_class c
     where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and not c.relispartition
       and c.relnamespace not in (select oid from pg_catalog.pg_namespace where nspname ^@ 'pg_' or nspname = 'information_schema')`,
  )
  return row?.objects ?? 0
}

function entry(database: string, role: string): string {
  return `grant connect on database ${quoteIdentifier(database)} to ${quoteIdentifier(role)}`
}
