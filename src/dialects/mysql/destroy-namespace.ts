import type { AdminConnection, DestroyReport } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import { tenancyError } from '../../errors.ts'
import { revokeRows } from './grants.ts'
import { type Layout, layoutOf } from './layout.ts'
import { ledgerName, markOf, type NamespaceRights, tenantMark } from './namespace-session.ts'
import { databaseExists, dropObjects, isEmpty, objectsOf, refuseReferences } from './objects.ts'
import { mysqlProfile } from './profile.ts'

type Query = AdminConnection['query']

const NOTHING: DestroyReport = Object.freeze({ objects: 0, rows: 0 })

/**
 * Removes the database of a tenant or its prefixed objects, under the namespace's lock, the ledger last: destroying goes on
 * where a crash stopped it. Nothing of anybody else goes with it.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS, TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function destroyNamespace(query: Query, scope: Scope, rights: NamespaceRights): Promise<DestroyReport> {
  const layout = layoutOf(scope, rights.shared)
  return layout.own ? destroyDatabase(query, scope, layout, rights) : destroyPrefixed(query, scope, layout)
}

async function destroyDatabase(
  query: Query,
  scope: Scope,
  layout: Layout,
  { servingAccount }: NamespaceRights,
): Promise<DestroyReport> {
  const exists = await databaseExists(query, layout.database)
  if (exists && (await markOf(query, layout)) !== tenantMark(scope) && !(await isEmpty(query, layout))) {
    throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
  }
  const removed = exists ? await dropAll(query, layout) : 0
  if (exists) await query(`drop database if exists ${mysqlProfile.quoteName(layout.database)}`)
  await revokeRows(query, layout, servingAccount)
  if (await databaseExists(query, layout.database)) {
    throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', ['its database is left'])
  }
  return exists ? { objects: removed + 1, rows: 0 } : NOTHING
}

async function destroyPrefixed(query: Query, scope: Scope, layout: Layout): Promise<DestroyReport> {
  const objects = await objectsOf(query, layout)
  if (objects.length === 0) return NOTHING
  if ((await markOf(query, layout)) !== tenantMark(scope)) {
    throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
  }
  const removed = await dropAll(query, layout)
  return { objects: removed, rows: 0 }
}

async function dropAll(query: Query, layout: Layout): Promise<number> {
  await refuseReferences(query, layout)
  const objects = await objectsOf(query, layout)
  await dropObjects(query, layout, objects, ledgerName(layout))
  const left = await objectsOf(query, layout)
  if (left.length > 0) throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [`${left.length} objects are left`])
  return objects.length
}
