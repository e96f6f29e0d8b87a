import type { RegistryChanges } from '../contracts/changes.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { deepFreeze } from '../util/deep-freeze.ts'
import { invalid, isTenantId } from './tenant-input.ts'

/** The latest change of a registry. */
export interface LatestChange {
  readonly number: number
  /** Another one for another registry, or one that may have lost changes: numbers of two mean nothing to each other. No spaces. */
  readonly incarnation: string
}

/** Up to where the changes of a registry are known. */
export interface ChangePosition {
  /** The number of the latest known change. */
  readonly number: number
  /** Where several rows have that number: the last of them that is known. Absent when all are. */
  readonly id?: string
}

/** A tenant and the number of its latest change. */
export interface Changed {
  readonly tenant: Tenant
  readonly number: number
}

/** How a registry reads its changes. */
export interface ChangeReader {
  last(): Promise<LatestChange>
  /** At most `limit` tenants whose latest change comes after `position`, ordered by number and id. */
  changed(position: ChangePosition, limit: number): Promise<readonly Changed[]>
}

/** Most tenants of one read. */
export const CHANGES_PER_READ = 500

/** {@link TenantStore.changes} of a registry that numbers its changes. @throws TENANCY_ERR_TENANT_INVALID for a position that is none */
export async function readChanges(after: string | undefined, reader: ChangeReader): Promise<RegistryChanges> {
  const known = after === undefined ? undefined : decode(after)
  const { number: last, incarnation } = await reader.last()
  const changes = (tenants: readonly Tenant[], position: string, more = false, reset = false) =>
    deepFreeze({ tenants, position: `${incarnation}@${position}`, more, reset, incarnation })
  if (known === undefined) return changes([], String(last))
  if (incarnation !== known.incarnation || last < known.number) return changes([], String(last), false, true)
  if (last === known.number && known.id === undefined) return changes([], String(last))
  // One more than is given tells whether there is more.
  const found = await reader.changed(known, CHANGES_PER_READ + 1)
  const given = found.slice(0, CHANGES_PER_READ)
  const tenants = given.map(({ tenant }) => tenant)
  const end = given.at(-1)
  if (end !== undefined && found.length > given.length) return changes(tenants, `${end.number} ${end.tenant.id}`, true)
  // What was read later than `last` may be of later changes, and then all before them was seen too.
  return changes(tenants, String(Math.max(last, end?.number ?? 0)))
}

function decode(position: string): ChangePosition & Pick<LatestChange, 'incarnation'> {
  const parts = typeof position === 'string' ? /^([^\s@]{0,200})@(\d{1,15})(?: (\S+))?$/.exec(position) : null
  const [, incarnation = '', digits, id] = parts ?? []
  if (digits !== undefined) {
    if (id === undefined) return { incarnation, number: Number(digits) }
    if (isTenantId(id)) return { incarnation, number: Number(digits), id }
  }
  throw invalid('the position of the changes is not one that was handed out.')
}
