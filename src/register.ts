import { currentDatabase, currentMetadata } from './context.ts'

/**
 * Tells the library your Drizzle type. Augment it once:
 *
 * ```ts
 * declare module 'fastify-tenancy' {
 *   interface Register { db: ReturnType<typeof drizzle<typeof schema>> }
 * }
 * ```
 *
 * With drizzle-orm 1.0 it is `typeof relations` instead of `typeof schema`. A member `metadata` is what your
 * `metadataSchema` gives: `z.infer<typeof metadataSchema>`.
 */
// oxlint-disable-next-line typescript/no-empty-object-type -- filled by the user's augmentation
export interface Register {}

/** The Drizzle database of a tenant: the type in {@link Register}, `unknown` without it. */
export type TenantDb = Register extends { db: infer TDb } ? TDb : unknown

/** The metadata of a tenant as it is read: the type in {@link Register}, or any keys without it. */
export type TenantMetadata = Register extends { metadata: infer TMetadata }
  ? TMetadata
  : Readonly<Record<string, unknown>>

/**
 * The metadata of the current tenant as `metadataSchema` gives it, frozen: read anew for each version of the tenant, so a
 * schema that takes the older forms migrates them.
 * @throws TENANCY_ERR_NO_TENANT, TENANCY_ERR_METADATA_STORED
 */
export function getTenantMetadata(): TenantMetadata {
  return currentMetadata() as TenantMetadata
}

/**
 * The Drizzle database of the current tenant: reaches that tenant's data and nothing else. It holds no connection, may be
 * kept and used later, and stops working when its tenant is no longer served. Inside the callback of its
 * `transaction()`, and in a route with `config: { tenancy: { transaction: true } }`, it is that transaction.
 *
 * @throws TENANCY_ERR_NO_TENANT before any SQL
 */
export function getTenantDb(): TenantDb {
  return currentDatabase() as TenantDb
}
