import type { AdminConnection, DestroyReport } from '../../contracts/dialect.ts'
import { type Scope, TENANT_SETTING } from '../../contracts/isolation.ts'
import { tenancyError } from '../../errors.ts'
import { type Layout, layoutOf } from './layout.ts'
import { markOfSchema, markOfTable, schemaMark, tenantMark } from './marks.ts'
import { ledgerName, type NamespaceRights } from './namespace-session.ts'
import { drop, dropObjects, objectsOf } from './objects.ts'
import { mssqlProfile } from './profile.ts'
import { destroyRows } from './rls/destroy-rows.ts'
import { claimRowKey, releaseRowKey } from './rls/row-keys.ts'
import { detachFromShared } from './shared/detach.ts'

type Query = AdminConnection['query']

const NOTHING: DestroyReport = Object.freeze({ objects: 0, rows: 0 })

/**
 * Removes the schema of a tenant or its prefixed objects, or its rows in shared tables, inside a running transaction and
 * under the namespace's lock. Nothing of anybody else goes with it.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS, TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function destroyNamespace(query: Query, scope: Scope, rights: NamespaceRights): Promise<DestroyReport> {
  const layout = layoutOf(scope, rights.shared)
  if (!(await isOurs(query, scope, layout))) return NOTHING
  if (scope.strategy === 'rls') {
    // Rows with a key that another tenant has are not this one's, whatever its registry says.
    if (!(await claimRowKey(query, layout, scope))) {
      throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', ['another tenant has its row key'])
    }
    const tenant = scope.settings[TENANT_SETTING] ?? ''
    return destroyRows(query, tenant, { layout, column: rights.shared.tenantColumn, ledger: ledgerName(layout) })
  }
  return layout.own ? destroySchema(query, layout) : destroyPrefixed(query, scope, layout)
}

/** Gives back the row key of a tenant that never was, inside a running transaction and under the namespace's lock. */
export async function releaseNamespace(query: Query, scope: Scope, rights: NamespaceRights): Promise<void> {
  const layout = layoutOf(scope, rights.shared)
  if (await isOurs(query, scope, layout)) await releaseRowKey(query, layout, scope)
}

/**
 * Drops the foreign keys of a tenant to tables that all tenants use, outside of any transaction and under the namespace's
 * lock, before the rest is destroyed. Does nothing where there are none, or where the namespace is not its own.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS, TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function detachNamespace(
  query: Query,
  scope: Scope,
  { shared, sharedTables }: NamespaceRights,
): Promise<void> {
  if (sharedTables === undefined || scope.strategy === 'rls') return
  const layout = layoutOf(scope, shared)
  if (!(await isOurs(query, scope, layout))) return
  if (!layout.own && (await markOfTable(query, layout.schema, ledgerName(layout))) !== tenantMark(scope)) return
  await detachFromShared(query, layout, sharedTables)
}

/** False when the schema of a scope does not exist. @throws TENANCY_ERR_NAMESPACE_EXISTS when it is not marked as ours */
async function isOurs(query: Query, scope: Scope, layout: Layout): Promise<boolean> {
  const mark = await markOfSchema(query, layout.schema)
  if (mark === undefined || mark === schemaMark(scope, layout)) return mark !== undefined
  throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [layout.schema])
}

async function destroySchema(query: Query, layout: Layout): Promise<DestroyReport> {
  const removed = await dropAll(query, layout)
  // What is left, of whatever kind, stops it.
  await drop(query, `drop schema ${mssqlProfile.quoteName(layout.schema)}`)
  if ((await markOfSchema(query, layout.schema)) !== undefined) {
    throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', ['its schema is left'])
  }
  return { objects: removed + 1, rows: 0 }
}

async function destroyPrefixed(query: Query, scope: Scope, layout: Layout): Promise<DestroyReport> {
  if ((await objectsOf(query, layout)).length === 0) return NOTHING
  if ((await markOfTable(query, layout.schema, ledgerName(layout))) !== tenantMark(scope)) {
    throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
  }
  return { objects: await dropAll(query, layout), rows: 0 }
}

async function dropAll(query: Query, layout: Layout): Promise<number> {
  const objects = await objectsOf(query, layout)
  await dropObjects(query, layout, objects)
  const left = (await objectsOf(query, layout)).length
  if (left > 0) throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [`${left} objects are left`])
  return objects.length
}
