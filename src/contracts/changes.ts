import type { Tenant } from './tenant.ts'

/** What changed in a registry after a position. */
export interface RegistryChanges {
  /** As they are now, each once, oldest change first; at most 500. One whose row is gone is not told. */
  readonly tenants: readonly Tenant[]
  /** Where the next read begins. Opaque. */
  readonly position: string
  /** Whether there is more to read after `position`. */
  readonly more: boolean
  /** True when the registry is older than the position, as a restored backup is: nothing read from it before holds. */
  readonly reset: boolean
}
