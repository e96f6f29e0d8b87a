import type { TenantStore } from '../contracts/store.ts'
import { isTenantId } from './tenant-input.ts'

type HotTenants = Pick<TenantStore, 'hotTenants' | 'noteHotTenants'>

/** The row of the table. */
export interface HotRow {
  readonly ids: string
}

/** How a registry reads and writes its list as one text. */
export interface HotText {
  read(): Promise<readonly HotRow[]>
  write(ids: string): Promise<unknown>
}

/** The part of a {@link TenantStore} that knows which tenants are used, of a registry that keeps them in one row. */
export function hotTenants(text: HotText): Required<HotTenants> {
  return {
    async hotTenants() {
      const [row] = await text.read()
      return Object.freeze((row?.ids ?? '').split(',').filter(isTenantId))
    },
    noteHotTenants: async (ids) => void (await text.write(ids.join(','))),
  }
}

/** The same part of a store that may have none, for who wraps it. */
export function hotTenantsOf({ hotTenants, noteHotTenants }: TenantStore): HotTenants {
  return {
    ...(hotTenants !== undefined && { hotTenants: () => hotTenants() }),
    ...(noteHotTenants !== undefined && { noteHotTenants: (ids: readonly string[]) => noteHotTenants(ids) }),
  }
}
