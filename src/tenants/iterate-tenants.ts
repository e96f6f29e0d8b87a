import type { TenantFilter, TenantStore } from '../contracts/store.ts'
import type { Tenant } from '../contracts/tenant.ts'

const PAGE = 500

/**
 * All tenants that match, newest first, a page in memory at a time. Each comes once, however many are changed meanwhile;
 * one that is made meanwhile does not come. Nothing is held open between two pages, so it can be left at any time.
 */
export async function* iterateTenants(
  store: Pick<TenantStore, 'list'>,
  filter: TenantFilter = {},
): AsyncGenerator<Tenant, void, undefined> {
  for (let after: string | undefined, first = true; first || after !== undefined; first = false) {
    const page = await store.list({ ...filter, limit: PAGE, ...(after !== undefined && { after }) })
    yield* page.tenants
    after = page.next
  }
}
