import { sql } from 'drizzle-orm'
import { pgTable, text } from 'drizzle-orm/pg-core'
import Fastify from 'fastify'
import { expect, it, onTestFinished, vi } from 'vitest'
import { db, migrationsOf } from '../faults/fixture.ts'
import { runWithTenant, type TenancyOptions } from '../../src/index.ts'
import { withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { optionsFor, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

describeWith(['postgres15'], 'two apps in one process', ({ postgres15 }) => {
  const fresh = async () => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    return database
  }
  it.each(['failed to start', 'not ready yet'])(
    'a job of an app that is %s never runs as the tenant of that name in the registry of another app',
    async (how) => {
      const [own, others] = [await fresh(), await fresh()]
      const migrations = await migrationsOf(['create table "items" ("name" text)'])
      const other = await tenantApp(others, { migrations })
      await other.ready()
      onTestFinished(() => other.close())
      await other.tenancy.register({ identifier: 'acme' })
      await other.tenancy.run('acme', () => db().execute(sql`insert into items values ('another company')`))
      const app = await tenantApp(own, {
        migrations,
        ...(how === 'failed to start' && { databaseUrl: withPort(own.appUrl, 1) }),
      })
      onTestFinished(() => app.close())
      if (how === 'failed to start') await Promise.resolve(app.ready()).catch(() => {})
      const job = () => runWithTenant('acme', async () => (await db().execute(sql`select name from items`)).rows)
      await expect(job()).rejects.toMatchObject({ code: 'TENANCY_ERR_AMBIGUOUS_INSTANCE' })
      await app.close()
      expect(await job()).toEqual([{ name: 'another company' }])
    },
  )

  it.each([
    ['schema', {}],
    ['schema', { schemaScoping: 'qualified' }],
    ['prefix', {}],
    ['rls', {}],
  ] as const)(
    'a table of each tenant (%s, %o) is not read from where another app of the process shares it',
    async (isolationStrategy, more) => {
      const database = await baselineDatabase(postgres15.url, { qualified: 'schemaScoping' in more })
      onTestFinished(() => database.drop())
      const plans = pgTable('plans', { name: text('name') })
      const items = pgTable('items', { name: text('name') })
      const schema = { plans, items }
      const one = await tenantApp(database, {
        registrySchema: 'registry_one',
        schema,
        sharedTables: ['plans'],
        sharedWritable: ['plans'],
        sharedMigrations: await migrationsOf(['create table "plans" ("name" text)']),
        migrations: await migrationsOf(['create table "items" ("name" text)']),
      })
      await one.ready()
      await one.close()
      const key = isolationStrategy === 'rls' ? '"tenant_id" uuid, ' : ''
      const options: TenancyOptions = {
        registrySchema: 'registry_two',
        schema,
        isolationStrategy,
        ...more,
        migrations: await migrationsOf([
          `create table "plans" (${key}"name" text)`,
          `create table "items" (${key}"name" text)`,
        ]),
      }
      await expect(tenantApp(database, options)).rejects.toMatchObject({ code: 'TENANCY_ERR_CONFIG_INVALID' })
      const { schema: _, ...without } = options
      await expect(tenantApp(database, without)).rejects.toMatchObject({ code: 'TENANCY_ERR_CONFIG_INVALID' })
    },
  )

  it('a table of each tenant of one app cannot be shared by another, which may be one that does not say so', async () => {
    const database = await fresh()
    const made = () => pgTable('plans', { name: text('name') })
    const [plans, items] = [made(), pgTable('items', { name: text('name') })]
    const sharedMigrations = await migrationsOf(['create table "plans" ("name" text)'])
    const shared = { sharedTables: ['plans'], sharedMigrations }
    const fine = { schema: { plans: made(), items }, ...shared }
    // That there are apps that share is known from here on.
    for (let i = 0; i < 2; i++) await (await tenantApp(database, fine)).close()
    await (await tenantApp(database, { schema: { plans, items } })).close()
    const both = tenantApp(database, { schema: { plans, items }, ...shared })
    await expect(both).rejects.toMatchObject({ code: 'TENANCY_ERR_CONFIG_INVALID' })
    // As in a process where nobody has shared yet.
    vi.resetModules()
    const { default: anew } = await import('../../src/index.ts')
    const unseen = Fastify()
    await unseen.register(anew, optionsFor(database))
    const sharing = () => Fastify().register(anew, optionsFor(database, { ...fine, schema: { plans: made(), items } }))
    await expect(sharing()).rejects.toMatchObject({ code: 'TENANCY_ERR_CONFIG_INVALID' })
    await unseen.close()
    await sharing()
  })
})
