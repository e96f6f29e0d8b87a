import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TenancyOptions } from '../../src/index.ts'
import { db, migrationsOf } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const invoices = pgTable('invoices', { id: integer('id').notNull(), title: text('title').notNull() })
const created = (column: string) =>
  `create table "invoices" ("${column}" integer not null, "id" integer not null, "title" text not null)`
const taken = { code: 'TENANCY_ERR_TENANT_EXISTS', statusCode: 409 }

async function started(database: TestDatabase, options: TenancyOptions): Promise<FastifyInstance> {
  const migrations = await migrationsOf([created(options.tenantColumn ?? 'tenant_id')])
  const app = await tenantApp(database, { isolationStrategy: 'rls', migrations, ...options })
  app.get('/invoices', () => db().select().from(invoices))
  app.post('/invoices/:title', async (request) => {
    await db()
      .insert(invoices)
      .values({ id: 1, title: (request.params as { title: string }).title })
    return 'added'
  })
  await app.ready()
  onTestFinished(() => app.close())
  return app
}

const add = (app: FastifyInstance, tenant: string, title: string) =>
  app.inject({ method: 'POST', url: `/invoices/${title}`, headers: as(tenant) })
const titlesOf = async (app: FastifyInstance, tenant: string) =>
  (await app.inject({ url: '/invoices', headers: as(tenant) })).json<{ title: string }[]>().map(({ title }) => title)

describeWith(['postgres15', 'postgres18'], 'row keys of several registries', ({ postgres15, postgres18 }) => {
  let database: TestDatabase
  let elsewhere: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
    elsewhere = await baselineDatabase(postgres15.url)
  })
  afterAll(async () => {
    await database?.drop()
    await elsewhere?.drop()
  })

  let count = 0
  /** Two apps with registries of their own on one shared schema. */
  const two = (): Promise<readonly [FastifyInstance, FastifyInstance]> => {
    const rlsSchema = `rls_${++count}`
    const one = (registrySchema: string) => started(database, { registrySchema, rlsSchema })
    return Promise.all([one(`one_${count}`), one(`other${count}`)])
  }

  it('refuses a key that a tenant of another registry has, and leaves nothing behind', async () => {
    const [one, other] = await two()
    const acme = await one.tenancy.register({ identifier: 'acme', rowKey: '42' })
    expect((await add(one, 'acme', 'secret')).body).toBe('added')
    for (const attempt of ['register', 'ensure'] as const) {
      await expect(other.tenancy[attempt]({ identifier: 'globex', rowKey: '42' })).rejects.toMatchObject(taken)
      expect(await other.tenancy.get('globex')).toBeUndefined()
    }
    await expect(other.tenancy.register({ identifier: 'globex', rowKey: '042' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_INVALID',
    })
    await other.tenancy.register({ identifier: 'globex', rowKey: '43' })
    expect(await titlesOf(other, 'globex')).toEqual([])

    // Its own, once more, is nothing new.
    expect(await one.tenancy.ensure({ identifier: 'acme', rowKey: '42' })).toEqual(acme)
    expect(await titlesOf(one, 'acme')).toEqual(['secret'])
    for (const app of [one, other]) {
      expect((await app.tenancy.doctor()).findings.filter(({ object }) => object.includes('row_keys'))).toEqual([])
    }
    expect((await one.tenancy.verify('acme')).checks.filter(({ ok }) => !ok)).toEqual([])

    // For ever: also when nobody has it any more, in either registry.
    await one.tenancy.delete('acme')
    expect(await one.tenancy.purge('acme')).toEqual({ objects: 0, rows: 1 })
    for (const app of [one, other]) {
      await expect(app.tenancy.register({ identifier: 'heir', rowKey: '42' })).rejects.toMatchObject(taken)
      expect(await app.tenancy.get('heir')).toBeUndefined()
    }
  })

  it('refuses it where an application of its own has the database that is one of several servers here', async () => {
    const eu = await started(elsewhere, {})
    const us = await started(database, {
      registrySchema: 'us',
      rlsSchema: 'rls',
      servers: { eu: { databaseUrl: elsewhere.appUrl, adminDatabaseUrl: elsewhere.adminUrl } },
    })
    await eu.tenancy.register({ identifier: 'acme', rowKey: '42' })
    await add(eu, 'acme', 'secret')
    const globex = { identifier: 'globex', rowKey: '42' }
    await expect(us.tenancy.register({ ...globex, server: 'eu' })).rejects.toMatchObject(taken)
    expect(await us.tenancy.get('globex')).toBeUndefined()
    // Beside other rows it is another key.
    await us.tenancy.register(globex)
    expect(await titlesOf(us, 'globex')).toEqual([])
    await us.tenancy.delete('globex')
    expect(await us.tenancy.purge('globex')).toEqual({ objects: 0, rows: 0 })
    expect(await titlesOf(eu, 'acme')).toEqual(['secret'])
  })

  it('gives a key to exactly one of two registries that ask for it at once', async () => {
    const apps = await two()
    for (let round = 1; round <= 5; round++) {
      const results = await Promise.allSettled(
        apps.map((app) => app.tenancy.register({ identifier: `t-${round}`, rowKey: String(round) })),
      )
      const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
      expect(lost).toHaveLength(1)
      expect(lost[0]).toMatchObject(taken)
      const found = await Promise.all(apps.map((app) => app.tenancy.get(`t-${round}`)))
      expect(found.map((tenant) => tenant?.status)).toEqual(
        results.map(({ status }) => (status === 'fulfilled' ? 'active' : undefined)),
      )
    }
  })

  it('takes the keys of tenants that are older than the table, at the next ensure() or the purge', async () => {
    const [one, other] = await two()
    for (const key of ['1', '2', '3']) {
      await one.tenancy.register({ identifier: `tenant-${key}`, rowKey: key })
      await add(one, `tenant-${key}`, key)
    }
    await asSuperuser(database, (client) => client.query(`drop table rls_${count}.__tenancy_row_keys`))
    await one.tenancy.ensure({ identifier: 'tenant-1' })
    await one.tenancy.delete('tenant-2')
    expect(await one.tenancy.purge('tenant-2')).toEqual({ objects: 0, rows: 1 })
    for (const key of ['1', '2']) {
      await expect(other.tenancy.register({ identifier: 'globex', rowKey: key })).rejects.toMatchObject(taken)
    }
    // Two that share their rows from before: the first has the key, and what the other does not have it cannot purge.
    await other.tenancy.register({ identifier: 'globex', rowKey: '3' })
    await expect(one.tenancy.ensure({ identifier: 'tenant-3' })).rejects.toMatchObject(taken)
    await one.tenancy.delete('tenant-3')
    await expect(one.tenancy.purge('tenant-3')).rejects.toMatchObject({
      code: 'TENANCY_ERR_DESTROY_INCOMPLETE',
      message: expect.stringContaining('another tenant has its row key') as string,
    })
    expect(await titlesOf(other, 'globex')).toEqual(['3'])
  })

  it('is no table of tenants, whatever the column of theirs is called', async () => {
    const app = await started(database, { registrySchema: 'named', rlsSchema: 'rls_named', tenantColumn: 'tenant' })
    for (const rowKey of ['1', '2', '3']) {
      await app.tenancy.register({ identifier: `tenant-${rowKey}`, rowKey })
      expect((await add(app, `tenant-${rowKey}`, rowKey)).body).toBe('added')
      expect(await titlesOf(app, `tenant-${rowKey}`)).toEqual([rowKey])
    }
    expect((await app.tenancy.doctor()).findings.filter(({ detail }) => detail.includes('row_key'))).toEqual([])
    const report = await app.tenancy.verify('tenant-1')
    expect([report.checks.filter(({ ok }) => !ok), report.warnings]).toEqual([[], []])
    await app.tenancy.delete('tenant-1')
    expect(await app.tenancy.purge('tenant-1')).toEqual({ objects: 0, rows: 1 })
    expect(await titlesOf(app, 'tenant-2')).toEqual(['2'])
  })
})
