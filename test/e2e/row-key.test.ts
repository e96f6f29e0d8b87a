import { sql } from 'drizzle-orm'
import { foreignKey, integer, pgTable, primaryKey, text, unique } from 'drizzle-orm/pg-core'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { createMemoryTenantStore, type TenancyOptions } from '../../src/index.ts'
import { tenantKeys } from '../../src/tenant-keys.ts'
import { db, migrationsOf } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

/** As an application has it that counted its customers before it had this library. */
const { tenantId, tenantPrimaryKey } = tenantKeys({ integer, primaryKey, foreignKey, unique, sql })
const invoices = pgTable(
  'invoices',
  {
    tenantId: tenantId(),
    id: integer('id').notNull(),
    title: text('title').notNull(),
  },
  (t) => [tenantPrimaryKey(t, { columns: [t.id] })],
)
const created = 'create table "invoices" ("tenant_id" integer not null, "id" integer not null, "title" text not null)'

describeWith(['postgres18'], 'tenants with row keys', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  let count = 0
  /** An app on shared tables of its own. */
  const started = async (options: TenancyOptions = {}): Promise<FastifyInstance> => {
    const app = await tenantApp(database, {
      isolationStrategy: 'rls',
      migrations: await migrationsOf([created]),
      ...options,
    })
    app.get('/invoices', () => db().select({ id: invoices.id, title: invoices.title }).from(invoices))
    app.post('/invoices', () => db().insert(invoices).values({ id: 9, title: 'new' }))
    await app.ready()
    onTestFinished(() => app.close())
    return app
  }
  const ownTables = (): TenancyOptions => ({ registrySchema: `registry_${++count}`, rlsSchema: `rls_${count}` })
  const titlesOf = async (app: FastifyInstance, tenant: string) =>
    (await app.inject({ url: '/invoices', headers: as(tenant) })).json<{ title: string }[]>().map(({ title }) => title)

  it('serves each the rows that were there before it, and adds to them', async () => {
    const app = await started(ownTables())
    await app.tenancy.register({ identifier: 'first', rowKey: '1' })
    await asSuperuser(database, (client) =>
      client.query(`insert into rls_${count}.invoices values (1, 1, 'of 1'), (42, 1, 'of 42'), (43, 1, 'of nobody')`),
    )
    const acme = await app.tenancy.register({ identifier: 'acme', rowKey: '42' })
    expect(acme.placement).toMatchObject({ strategy: 'rls', rowKey: '42' })
    expect(await titlesOf(app, 'acme')).toEqual(['of 42'])
    expect((await app.inject({ method: 'POST', url: '/invoices', headers: as('acme') })).statusCode).toBe(200)
    expect(await titlesOf(app, 'acme')).toEqual(['of 42', 'new'])
    expect(await titlesOf(app, 'first')).toEqual(['of 1'])
    expect((await app.tenancy.verify('acme')).checks.filter(({ ok }) => !ok)).toEqual([])
    await app.tenancy.update('acme', { identifier: 'renamed' })
    expect(await titlesOf(app, 'renamed')).toEqual(['of 42', 'new'])
    await app.tenancy.delete('renamed')
    expect(await app.tenancy.purge('renamed')).toEqual({ objects: 0, rows: 2 })
    expect(await titlesOf(app, 'first')).toEqual(['of 1'])
    await expect(app.tenancy.register({ identifier: 'heir', rowKey: '42' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_EXISTS',
      statusCode: 409,
    })
  })

  it('says at registration that a key does not fit the column, and keeps nothing of the attempt', async () => {
    const app = await started(ownTables())
    for (const [rowKey, told] of [
      [
        undefined,
        /the column tenant_id of the table invoices is integer and cannot hold it\. Register it with the `rowKey`/,
      ],
      ['acme', /cannot hold it/],
      ['2147483648', /cannot hold it/],
      ['042', /would hold "42"/],
      [' 42', /1 to 255 characters/],
    ] as const) {
      const failure = app.tenancy.register({ identifier: 'acme', ...(rowKey !== undefined && { rowKey }) })
      await expect(failure).rejects.toMatchObject({
        code: 'TENANCY_ERR_TENANT_INVALID',
        statusCode: 400,
        message: expect.stringMatching(told) as string,
      })
      expect(await app.tenancy.get('acme')).toBeUndefined()
    }
    await app.tenancy.register({ identifier: 'acme', rowKey: '42' })
  })

  it('gives a key to exactly one of many that ask for it at once, in two processes', async () => {
    const options = ownTables()
    const apps = await Promise.all([started(options), started(options)])
    for (let round = 1; round <= 3; round++) {
      const results = await Promise.allSettled(
        Array.from({ length: 6 }, (_, i) =>
          (apps[i % 2] as FastifyInstance).tenancy.register({ identifier: `t-${round}-${i}`, rowKey: String(round) }),
        ),
      )
      const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
      expect(lost).toHaveLength(5)
      for (const reason of lost) expect(reason).toMatchObject({ code: 'TENANCY_ERR_TENANT_EXISTS' })
    }
    expect((await apps[0]?.tenancy.list())?.tenants.map(({ placement }) => placement.rowKey).sort()).toEqual([
      '1',
      '2',
      '3',
    ])
  })

  it('ensure() makes a tenant with its key once, and refuses another key for it', async () => {
    const app = await started(ownTables())
    const made = await app.tenancy.ensure({ identifier: 'acme', rowKey: '42' })
    expect(await app.tenancy.ensure({ identifier: 'acme', rowKey: '42' })).toEqual(made)
    expect(await app.tenancy.ensure({ identifier: 'acme' })).toEqual(made)
    for (const attempt of [
      { identifier: 'acme', rowKey: '43' },
      { identifier: 'other', rowKey: '42' },
    ]) {
      await expect(app.tenancy.ensure(attempt)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_EXISTS' })
    }
  })

  it('serves nobody whose registry has lost the key', async () => {
    const inner = createMemoryTenantStore()
    const app = await started({
      ...ownTables(),
      tenantStore: inner,
    })
    await app.tenancy.register({ identifier: 'acme', rowKey: '42' })
    expect((await app.inject({ url: '/invoices', headers: as('acme') })).statusCode).toBe(200)
    const other = await started({ ...ownTables(), tenantStore: { ...inner, getByIdentifier: forgetful } as never })
    const answer = await other.inject({ url: '/invoices', headers: as('acme') })
    expect([answer.statusCode, answer.json<{ code: string }>().code]).toEqual([400, 'TENANCY_ERR_TENANT_INVALID'])

    async function forgetful(identifier: string) {
      const tenant = await inner.getByIdentifier(identifier)
      if (tenant === undefined) return undefined
      const { rowKey: _lost, ...placement } = tenant.placement
      return { ...tenant, placement }
    }
  })
})
