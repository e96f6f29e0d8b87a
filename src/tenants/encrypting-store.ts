import type { RegistryChanges } from '../contracts/changes.ts'
import type { ListOptions, TenantPage, TenantStore } from '../contracts/store.ts'
import type { NewTenant, Tenant, TenantPatch, TenantStatus } from '../contracts/tenant.ts'
import { hotTenantsOf } from './hot-tenants.ts'
import { outdatedSecrets } from './outdated-secrets.ts'
import type { SecretFields } from './secret-fields.ts'

/** What {@link createEncryptingTenantStore} takes. */
export interface EncryptingTenantStoreOptions {
  /** Sees and keeps secrets sealed only. */
  readonly store: TenantStore
  /** Where the secrets are and what seals them. */
  readonly secrets: SecretFields
}

/**
 * Seals the secrets in metadata before they reach `store`, and gives them as values that open when asked. So one value
 * that cannot be opened makes no tenant and no list unreadable. Everything between here and the database, such as a
 * cache in Redis, has them sealed.
 *
 * A patch seals its own values only, so `store` merges them as atomically as any others. What is left of older keys,
 * of fastapi-tenancy or in clear is sealed anew after an update, unless somebody else came in between.
 */
export function createEncryptingTenantStore({ store, secrets }: EncryptingTenantStoreOptions): TenantStore {
  const maybe = (tenant: Tenant | undefined) => tenant && secrets.hide(tenant)

  async function write(id: string, { metadata, ...patch }: TenantPatch, expectedVersion?: number): Promise<Tenant> {
    const sealed = metadata === undefined ? patch : { ...patch, metadata: await secrets.seal(metadata, id) }
    return secrets.hide(await store.update(id, sealed, expectedVersion))
  }

  async function renew(tenant: Tenant): Promise<Tenant> {
    const metadata = await outdatedSecrets(tenant)
    return Object.keys(metadata).length === 0 ? tenant : write(tenant.id, { metadata }, tenant.version)
  }

  async function update(id: string, patch: TenantPatch, expectedVersion?: number): Promise<Tenant> {
    const tenant = await write(id, patch, expectedVersion)
    const { identifier, name, metadata } = patch
    if (identifier === undefined && name === undefined && metadata === undefined) return tenant
    // The update itself is done: whatever stops the rest of it, the next one tries again.
    return renew(tenant).catch(() => tenant)
  }

  async function changes(after?: string): Promise<RegistryChanges> {
    const read = await (store as Required<TenantStore>).changes(after)
    return Object.freeze({ ...read, tenants: Object.freeze(read.tenants.map(secrets.hide)) })
  }

  return Object.freeze({
    initialize: () => store.initialize(),
    getById: async (id: string) => maybe(await store.getById(id)),
    getByIdentifier: async (identifier: string) => maybe(await store.getByIdentifier(identifier)),
    getByIds: async (ids: readonly string[]) => Object.freeze((await store.getByIds(ids)).map(secrets.hide)),
    insert: async (tenant: NewTenant) =>
      secrets.hide(await store.insert({ ...tenant, metadata: await secrets.seal(tenant.metadata, tenant.id) })),
    update,
    setStatus: async (id: string, to: TenantStatus, from?: TenantStatus) =>
      secrets.hide(await store.setStatus(id, to, from)),
    discard: (id: string) => store.discard(id),
    async list(options?: ListOptions): Promise<TenantPage> {
      const page = await store.list(options)
      return Object.freeze({ ...page, tenants: Object.freeze(page.tenants.map(secrets.hide)) })
    },
    count: (status?: TenantStatus) => store.count(status),
    ...(store.changes !== undefined && { changes }),
    ...hotTenantsOf(store),
    ping: () => store.ping(),
    close: () => store.close(),
  })
}
