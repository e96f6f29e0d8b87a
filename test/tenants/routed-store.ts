import type { TenantStore } from '../../src/contracts/store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'

/** A store each call of which goes to the store that is `current` when it begins. */
export function routedStore(current: () => TenantStore): TenantStore {
  const names = Object.keys(createMemoryTenantStore()) as (keyof TenantStore)[]
  const routed = names.map((name) => [
    name,
    (...parameters: readonly unknown[]) =>
      (current()[name] as (...parameters: readonly unknown[]) => unknown)(...parameters),
  ])
  return Object.fromEntries(routed) as TenantStore
}
