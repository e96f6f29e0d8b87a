// Compiled twice, with drizzle-orm 0.45 and 1.0. Nothing in these programs augments `Register`.
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { expectTypeOf } from 'vitest'
import { getTenantDb, type TenantDb } from '../../src/index.ts'

// Without the user's type it is `unknown`, never `any`: nothing can be called by mistake.
expectTypeOf<TenantDb>().toEqualTypeOf<unknown>()
expectTypeOf(getTenantDb).returns.toEqualTypeOf<unknown>()
expectTypeOf<FastifyRequest['tenantDb']>().toEqualTypeOf<unknown>()
expectTypeOf<FastifyInstance['tenancy']['adminDb']>().returns.resolves.toEqualTypeOf<unknown>()

// @ts-expect-error these checks tell `any` from `unknown`
expectTypeOf(JSON.parse).returns.toEqualTypeOf<unknown>()

// @ts-expect-error a database of unknown type has no methods
export const select = () => getTenantDb().select()
