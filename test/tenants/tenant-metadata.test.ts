import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { createTenantMetadata } from '../../src/tenants/tenant-metadata.ts'
import { isDeepFrozen, newTenant } from '../conformance/store.ts'

const now = '2026-01-01T00:00:00.000Z'
const tenantWith = (metadata: Record<string, unknown>): Tenant => ({
  ...newTenant({ metadata, status: 'active' }),
  version: 1,
  createdAt: now,
  updatedAt: now,
})
const reader = (schema: z.ZodType | undefined) => createTenantMetadata({ schema, secretPrefix: '_enc_' })

/** Takes what was written before `seats` was a number in `limits`, and gives today's form. */
const schema = z.strictObject({
  plan: z.enum(['free', 'pro']).default('free'),
  limits: z.object({ seats: z.int().min(1) }).optional(),
  contacts: z.array(z.object({ email: z.email() })).default([]),
})
const migrating = z.preprocess((value) => {
  const { seats, ...rest } = value as { seats?: string }
  return seats === undefined ? rest : { ...rest, limits: { seats: Number(seats) } }
}, schema)

describe('createTenantMetadata', () => {
  it("[W73] gives today's form of what an older schema had stored", () => {
    const old = tenantWith({ seats: '5' })
    expect(reader(migrating).of(old)).toEqual({ plan: 'free', limits: { seats: 5 }, contacts: [] })
    expect(old.metadata).toEqual({ seats: '5' })
  })

  it('[W73] gives what is frozen and made once, and leaves alone what is stored', () => {
    let calls = 0
    const counting = z.preprocess((value) => {
      calls++
      return value
    }, schema)
    const metadata = reader(counting)
    const tenant = tenantWith({ contacts: [{ email: 'a@example.com' }] })
    const first = metadata.of(tenant)
    expect(isDeepFrozen(first)).toBe(true)
    expect(metadata.of(tenant)).toBe(first)
    expect(calls).toBe(1)
    metadata.of({ ...tenant })
    expect(calls).toBe(2)
  })

  it('names the paths of what does not fit, and never a value', () => {
    const bad = {
      plan: 'TOP-SECRET',
      limits: { seats: 'TOP-SECRET' },
      contacts: [{ email: 'TOP-SECRET' }],
      'odd"key\n': 1,
    }
    const metadata = reader(schema)
    for (const [work, code, statusCode] of [
      [() => metadata.check(bad), 'TENANCY_ERR_METADATA_INVALID', 400],
      [() => metadata.of(tenantWith(bad)), 'TENANCY_ERR_METADATA_STORED', 500],
    ] as const) {
      const error = thrownBy(work)
      expect(error).toMatchObject({ code, statusCode })
      for (const path of ['"plan"', '"limits.seats"', '"contacts.0.email"', 'its first level']) {
        expect((error as Error).message).toContain(path)
      }
      expect(inspect(error, { depth: null, showHidden: true })).not.toContain('TOP-SECRET')
    }
  })

  it('names five paths at most, each cut short', () => {
    const record = z.record(z.string(), z.number())
    const bad = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`${n}${'x'.repeat(500)}`, 'no']))
    expect((thrownBy(() => reader(record).check(bad)) as Error).message.length).toBeLessThan(1000)
  })

  it('does not show secrets of the first level to the schema, and gives them as they are', () => {
    const secret = Object.freeze({ reveal: async () => 's3cret' })
    expect(reader(schema).of(tenantWith({ plan: 'pro', _enc_key: secret }))).toEqual({
      plan: 'pro',
      contacts: [],
      _enc_key: secret,
    })
    reader(schema).check({ _enc_key: 'in clear, on its way to be sealed' })
  })

  it('refuses a schema that gives a promise, whatever comes of it', async () => {
    const later = (result: Promise<never>) => {
      const schema = { '~standard': { version: 1 as const, vendor: 'test', validate: () => result } }
      return createTenantMetadata({ schema, secretPrefix: '_enc_' })
    }
    for (const result of [new Promise<never>(() => {}), Promise.reject(new RangeError('too late'))]) {
      expect(thrownBy(() => later(result).check({}))).toMatchObject({ code: 'TENANCY_ERR_CONFIG_INVALID' })
    }
    const asynchronous = z.object({ plan: z.string() }).refine(async () => true)
    expect(thrownBy(() => reader(asynchronous).check({ plan: 'x' }))).toMatchObject({
      code: 'TENANCY_ERR_CONFIG_INVALID',
    })
    await new Promise((resolve) => setTimeout(resolve, 20))
  })

  it('takes any metadata without a schema', () => {
    const tenant = tenantWith({ anything: 1 })
    expect(reader(undefined).of(tenant)).toBe(tenant.metadata)
    reader(undefined).check({ anything: [] })
  })
})

function thrownBy(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}
