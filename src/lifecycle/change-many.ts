import type { TenantRef } from '../context.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { isTenancyError } from '../errors.ts'

/** What became of one of many: the tenant as it is now, or why it was not changed. */
export type ChangeResult =
  | { readonly ref: TenantRef; readonly tenant: Tenant; readonly error?: never }
  | { readonly ref: TenantRef; readonly tenant?: never; readonly error: unknown }

/** So many are under way at once: few enough to leave the admin connections to others. */
const AT_ONCE = 3

/**
 * Makes one change to many tenants, each for itself: what one is refused keeps no other from its change. One result for
 * each of `refs`, in their order. Once the registry cannot be reached, what has not been begun is not tried any more: its
 * result is that error.
 */
export async function changeMany(
  refs: readonly TenantRef[],
  change: (ref: TenantRef) => Promise<Tenant>,
): Promise<readonly ChangeResult[]> {
  const results: ChangeResult[] = []
  const left = refs.entries()
  let unreachable: unknown

  async function resultOf(ref: TenantRef): Promise<ChangeResult> {
    if (unreachable !== undefined) return { ref, error: unreachable }
    try {
      return { ref, tenant: await change(ref) }
    } catch (error) {
      if (
        isTenancyError(error, 'TENANCY_ERR_STORE_UNAVAILABLE') ||
        isTenancyError(error, 'TENANCY_ERR_STORE_FORBIDDEN')
      ) {
        unreachable = error
      }
      return { ref, error }
    }
  }
  // They share one iterator: each takes what is next.
  const work = async (): Promise<void> => {
    for (const [at, ref] of left) results[at] = await resultOf(ref)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return results
}
