import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { getTenantMetadata } from '../../src/index.ts'
import { shop } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const metadataSchema = z.looseObject({ plan: z.enum(['free', 'pro']).default('free'), seats: z.int().optional() })
const invalid = { code: 'TENANCY_ERR_METADATA_INVALID', statusCode: 400 }

describeWith(['postgres18'], 'metadata with a schema', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const reading = (app: FastifyInstance) => void app.get('/metadata', async () => getTenantMetadata())

  it('[W73] is checked as the merged whole by every write of it, and changes nothing when it does not fit', async () => {
    const app = await shop(database, { metadataSchema }, reading)
    const { tenancy } = app
    await expect(tenancy.register({ identifier: 'bad-one', metadata: { plan: 'gold' } })).rejects.toMatchObject(invalid)
    await expect(tenancy.ensure({ identifier: 'bad-one', metadata: { seats: '5' } })).rejects.toMatchObject({
      ...invalid,
      message:
        'The metadata of a tenant would not fit `metadataSchema`, at "seats" (Invalid input: expected number, received string).',
    })
    expect(await tenancy.get('bad-one')).toBeUndefined()

    const made = await tenancy.register({ identifier: 'good-one', metadata: { seats: 5 } })
    expect(made.metadata).toEqual({ seats: 5 })
    expect(tenancy.metadataOf(made)).toEqual({ plan: 'free', seats: 5 })
    await expect(tenancy.update('good-one', { metadata: { seats: 1.5 }, name: 'X' })).rejects.toMatchObject(invalid)
    expect(await tenancy.get('good-one')).toEqual(made)
    await tenancy.update('good-one', { metadata: { plan: 'pro', seats: null } })
    const told = await app.inject({ url: '/metadata', headers: as('good-one') })
    expect(told.json()).toEqual({ plan: 'pro' })
    await expect(tenancy.update('good-one', { metadata: { seats: 2 } }, made.version)).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_CONFLICT',
    })
  })

  it('[W73] is checked whole: two writes that fit by themselves do not both get in when they do not fit together', async () => {
    const either = z.looseObject({}).refine((value) => !('a' in value && 'b' in value))
    const apps = [
      await shop(database, { metadataSchema: either }),
      await shop(database, { metadataSchema: either }),
    ] as const
    for (let round = 0; round < 10; round++) {
      const identifier = `either-${round}`
      await apps[0].tenancy.register({ identifier })
      const results = await Promise.allSettled([
        apps[0].tenancy.update(identifier, { metadata: { a: 1 } }),
        apps[1].tenancy.update(identifier, { metadata: { b: 1 } }),
        apps[0].tenancy.update(identifier, { metadata: { b: 2 } }),
      ])
      const { metadata = {} } = (await apps[1].tenancy.get(identifier)) ?? {}
      expect(Object.keys(metadata)).toHaveLength(1)
      expect(results.some(({ status }) => status === 'rejected')).toBe(true)
    }
  })

  it('[W42] keeps the keys of 60 writers at once, in two processes', async () => {
    const apps = [await shop(database, { metadataSchema }), await shop(database, { metadataSchema })] as const
    await apps[0].tenancy.register({ identifier: 'busy-one' })
    await Promise.all([
      ...Array.from({ length: 60 }, (_, n) =>
        apps[n % 2 === 0 ? 0 : 1].tenancy.update('busy-one', { metadata: { [`key${n}`]: n } }),
      ),
      apps[1].tenancy.suspend('busy-one'),
    ])
    const busy = await apps[0].tenancy.get('busy-one')
    expect(Object.keys(busy?.metadata ?? {})).toHaveLength(60)
    expect(busy?.status).toBe('suspended')
  })

  it('[W73] that no longer fits is told to who reads it, and keeps nobody from suspending, listing or correcting it', async () => {
    const before = await shop(database)
    const old = await before.tenancy.register({ identifier: 'old-form', metadata: { plan: 'platinum', seats: 3 } })
    const app = await shop(database, { metadataSchema }, (made) => {
      reading(made)
      made.get('/ok', async () => 'ok')
    })
    const get = (url: string) => app.inject({ url, headers: as('old-form') })
    expect((await get('/ok')).statusCode).toBe(200)
    expect((await get('/metadata')).json()).toMatchObject({ code: 'TENANCY_ERR_METADATA_STORED' })
    expect(() => app.tenancy.metadataOf(old)).toThrow('at "plan"')
    expect((await app.tenancy.list({ search: 'old-form' })).tenants).toEqual([old])
    await app.tenancy.update('old-form', { name: 'Renamed' })
    await expect(app.tenancy.update('old-form', { metadata: { seats: 4 } })).rejects.toMatchObject(invalid)
    await app.tenancy.suspend('old-form')
    expect((await get('/ok')).statusCode).toBe(403)
    await app.tenancy.activate('old-form')
    await app.tenancy.update('old-form', { metadata: { plan: 'pro' } })
    expect((await get('/metadata')).json()).toEqual({ plan: 'pro', seats: 3 })
    await before.close()

    const migrating = z.object({ plan: z.string() }).transform(({ plan }) => ({ tier: plan.toUpperCase() }))
    const later = await shop(database, { metadataSchema: migrating }, reading)
    const migrated = await later.inject({ url: '/metadata', headers: as('old-form') })
    expect(migrated.json()).toEqual({ tier: 'PRO' })
  })

  it('is for a tenant: without one there is none', () => {
    expect(() => getTenantMetadata()).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_NO_TENANT' }))
  })
})
