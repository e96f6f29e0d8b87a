// Compiled twice, with drizzle-orm 0.45 and 1.0.
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type pg from 'pg'
import { expectTypeOf } from 'vitest'
import tenancy, { getTenant, runWithTenant, type Tenant, type TenancyOptions, tryGetTenant } from '../../src/index.ts'

/** Registers with options, and refuses wrong ones. */
export async function registers(app: FastifyInstance): Promise<void> {
  await app.register(tenancy)
  await app.register(tenancy, {
    databaseUrl: 'postgres://app@localhost/saas',
    resolutionStrategy: ['subdomain', 'header'],
  })
  await app.register(tenancy, { authorize: async (tenant, request) => request.id === tenant.id })
  // @ts-expect-error no such strategy
  await app.register(tenancy, { resolutionStrategy: 'cookie' })
  // @ts-expect-error a misspelt option
  await app.register(tenancy, { databaseURL: 'postgres://app@localhost/saas' })
  // @ts-expect-error a text, not a flag
  await app.register(tenancy, { databaseUrl: true })
  // @ts-expect-error a list of paths
  await app.register(tenancy, { excludedPaths: 7 })
  // @ts-expect-error an answer is a boolean
  await app.register(tenancy, { authorize: () => 'yes' })
  // @ts-expect-error the factory returns a database
  await app.register(tenancy, { drizzle: (client: pg.Pool) => client.query('select 1').then.name })
  // @ts-expect-error options are an object
  await app.register(tenancy, 'postgres://app@localhost/saas')
}

/** What a route may say. */
export function routes(app: FastifyInstance): void {
  const handler = () => 'ok'
  app.get('/a', { config: { tenancy: false } }, handler)
  app.get('/b', { config: { tenancy: true } }, handler)
  app.get('/c', { config: { tenancy: { transaction: true } } }, handler)
  // @ts-expect-error neither a flag nor an object
  app.get('/d', { config: { tenancy: 'off' } }, handler)
  // @ts-expect-error a misspelt key
  app.get('/e', { config: { tenancy: { transactions: true } } }, handler)
  // @ts-expect-error a key without its value
  app.get('/f', { config: { tenancy: {} } }, handler)
}

// The shape of everything else that is public.
expectTypeOf<FastifyRequest['tenant']>().toEqualTypeOf<Tenant | null>()
expectTypeOf(getTenant).returns.toEqualTypeOf<Tenant>()
expectTypeOf(tryGetTenant).returns.toEqualTypeOf<Tenant | undefined>()
expectTypeOf(tenancy).parameter(1).toEqualTypeOf<TenancyOptions>()
expectTypeOf(runWithTenant('acme', ({ identifier }) => identifier.length)).resolves.toEqualTypeOf<number>()
expectTypeOf(runWithTenant({ id: 'x' }, async () => 1)).resolves.toEqualTypeOf<number>()

/** A tenant is frozen for the compiler too. */
export function frozen(tenant: Tenant, request: FastifyRequest): void {
  // @ts-expect-error read-only
  tenant.identifier = 'other'
  // @ts-expect-error read-only
  tenant.placement.namespace = 'other'
  // @ts-expect-error read-only
  tenant.metadata['plan'] = 'free'
  // @ts-expect-error read-only
  request.tenant = tenant
  // @ts-expect-error read-only
  request.tenantDb = {}
  // @ts-expect-error a number is no tenant
  void runWithTenant(7, () => 1)
}
