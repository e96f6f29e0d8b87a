import type { DestroyReport } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import { tenancyError } from '../../errors.ts'
import type { Layout } from './layout.ts'
import { isOwn, type NamespaceTransaction, objectsOf } from './namespace-session.ts'
import { sqliteProfile } from './profile.ts'

/** Where there was nothing to destroy. */
export const NOTHING: DestroyReport = Object.freeze({ objects: 0, rows: 0 })

/** Kinds of objects, in an order in which they can be dropped; a table takes its indexes and triggers along. */
const KINDS = ['view', 'trigger', 'index', 'table'] as const

/**
 * Removes the prefixed objects of a tenant and of nobody else, inside a transaction with foreign keys off: rows of others
 * that refer to them, which only the admin can have made, stay as they are.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS, TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function destroyPrefixed(
  { query, run }: NamespaceTransaction,
  scope: Scope,
  layout: Layout,
): Promise<DestroyReport> {
  if (!(await isOwn(query, scope, layout))) return NOTHING
  const objects = await objectsOf(query, layout)
  for (const kind of KINDS) {
    for (const { name, type } of objects) {
      if (type === kind) await run(`drop ${kind} if exists ${sqliteProfile.quoteName(name)}`)
    }
  }
  const left = await objectsOf(query, layout)
  if (left.length > 0) throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [`${left.length} objects are left`])
  return Object.freeze({ objects: objects.length, rows: 0 })
}
