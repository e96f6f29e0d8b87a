import type { AdminConnection, DestroyReport } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import type { NamespaceSession } from '../../contracts/migrator.ts'
import { tenancyError } from '../../errors.ts'
import { errorNumber } from './failure.ts'
import { markDatabase, markOfDatabase, tenantMark } from './marks.ts'
import { type NamespaceRights, openNamespaceSession } from './namespace-session.ts'
import { mssqlProfile } from './profile.ts'
import { quoteText } from './quote.ts'

type Query = AdminConnection['query']

/** One session of the admin login, which goes from one database into another. */
export interface DatabaseAccess {
  readonly query: Query
  /** Goes into another database. */
  use(database: string): Promise<void>
  /** Runs `work` in one transaction. */
  transaction<T>(work: () => Promise<T>): Promise<T>
  /** The database that all connections are in. */
  readonly main: string
  /** The login that serves tenants. Absent when the admin login serves too. */
  readonly servingLogin: string | undefined
  readonly rights: NamespaceRights
}

const NOTHING: DestroyReport = Object.freeze({ objects: 0, rows: 0 })
/** Somebody is connected to it. */
const IN_USE = 3702
/** What everybody's databases begin with has an owner; ours is made by us. */
const FIND = 'select case when owner_sid = suser_sid() then 1 else 0 end as own from sys.databases where name = @p0'
const COUNT = 'select count(*) as objects from sys.objects where is_ms_shipped = 0 and parent_object_id = 0'

/**
 * Runs `work` in the database of a scope, which is made if it is not there, in one transaction. When `work` fails, a database
 * that this very call made is dropped again: CREATE DATABASE is in no transaction.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS when there is a database of this name that is not marked as this tenant's
 */
export async function inDatabase<T>(
  access: DatabaseAccess,
  scope: Scope,
  work: (session: NamespaceSession) => Promise<T>,
): Promise<T> {
  const { namespace } = scope
  const { query } = access
  const [found] = await query<{ own: number }>(FIND, [namespace])
  if (found === undefined) await query(`create database ${mssqlProfile.quoteName(namespace)}`)
  try {
    await access.use(namespace)
    if (!(await isMarked(query, scope, found === undefined || found.own === 1))) await prepare(access, scope)
    return await access.transaction(() => work(openNamespaceSession(query, scope, access.rights)))
  } catch (error) {
    // Its own failure would hide why: the connection is gone then, mostly, and the database stays, marked.
    if (found === undefined) await dropDatabase(access, namespace).catch(() => {})
    throw error
  } finally {
    await access.use(access.main).catch(() => {})
  }
}

/**
 * Drops the database of a scope with everything in it, whoever is connected, and sees that it is gone.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS when it is not marked as this tenant's, TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function destroyDatabase(access: DatabaseAccess, scope: Scope): Promise<DestroyReport> {
  const { namespace } = scope
  const { query } = access
  if ((await query(FIND, [namespace])).length === 0) return NOTHING
  await access.use(namespace)
  const marked = await markOfDatabase(query)
  const [count] = await query<{ objects: number }>(COUNT)
  await access.use(access.main)
  if (marked !== tenantMark(scope)) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [namespace])
  try {
    await dropDatabase(access, namespace)
  } catch (error) {
    if (errorNumber(error) !== IN_USE) throw error
    throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', ['sessions are connected to its database'], error)
  }
  if ((await query(FIND, [namespace])).length > 0) {
    throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', ['its database is left'])
  }
  return { objects: (count?.objects ?? 0) + 1, rows: 0 }
}

/** False for a database that a crash left unmarked, and empty. @throws TENANCY_ERR_NAMESPACE_EXISTS */
async function isMarked(query: Query, scope: Scope, own: boolean): Promise<boolean> {
  const mark = await markOfDatabase(query)
  if (mark === tenantMark(scope)) return true
  const [count] = await query<{ objects: number }>(COUNT)
  if (mark === null && own && count?.objects === 0) return false
  throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
}

/** Lets the serving login in, to nothing yet, and marks the database last. */
async function prepare({ query, servingLogin, rights }: DatabaseAccess, scope: Scope): Promise<void> {
  const { servingUser } = rights
  if (servingLogin !== undefined && servingUser !== undefined) {
    const [user, login] = [mssqlProfile.quoteName(servingUser), mssqlProfile.quoteName(servingLogin)]
    const known = await query('select 1 as found from sys.database_principals where name = @p0', [servingUser])
    if (known.length === 0) await query(`create user ${user} for login ${login}`)
  }
  await markDatabase(query, tenantMark(scope))
}

async function dropDatabase({ query, use, main }: DatabaseAccess, database: string): Promise<void> {
  const name = mssqlProfile.quoteName(database)
  await use(main)
  // Whoever is connected is thrown out; where that cannot be, it is enough that nobody is.
  await query(`alter database ${name} set single_user with rollback immediate`).catch(() => {})
  await query(`if db_id(${quoteText(database)}) is not null drop database ${name}`)
}
