import { currentDatabase } from './context.ts'

/**
 * Tells the library your Drizzle type. Augment it once:
 *
 * ```ts
 * declare module 'fastify-tenancy' {
 *   interface Register { db: ReturnType<typeof drizzle<typeof schema>> }
 * }
 * ```
 *
 * With drizzle-orm 1.0 it is `typeof relations` instead of `typeof schema`.
 */
// oxlint-disable-next-line typescript/no-empty-object-type -- filled by the user's augmentation
export interface Register {}

/** The Drizzle database of a tenant: the type in {@link Register}, `unknown` without it. */
export type TenantDb = Register extends { db: infer TDb } ? TDb : unknown

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
