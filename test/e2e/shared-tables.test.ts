import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eq } from 'drizzle-orm'
import { integer, pgTable, serial, text } from 'drizzle-orm/pg-core'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import tenancy, { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, optionsFor, type PlainDb } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const SHARED = `CREATE TABLE "plans" ("id" integer PRIMARY KEY NOT NULL, "name" text NOT NULL);--> statement-breakpoint
CREATE TABLE "tags" ("id" serial PRIMARY KEY NOT NULL, "label" text NOT NULL);--> statement-breakpoint
INSERT INTO "plans" VALUES (1, 'free'), (2, 'pro');`
const OWN = `CREATE TABLE "accounts" (
  "tenant_id" uuid DEFAULT nullif(current_setting('app.current_tenant', true), '')::uuid,
  "id" integer NOT NULL,
  "plan_id" integer NOT NULL REFERENCES "public"."plans"("id")
);`

/** Tables anew: an app writes into them where they are. */
function tables() {
  const plans = pgTable('plans', { id: integer('id').primaryKey(), name: text('name').notNull() })
  const tags = pgTable('tags', { id: serial('id').primaryKey(), label: text('label').notNull() })
  const accounts = pgTable('accounts', { id: integer('id').notNull(), planId: integer('plan_id').notNull() })
  return { plans, tags, accounts }
}

describeWith(['postgres15'], 'shared tables in an app', ({ postgres15 }) => {
  let database: TestDatabase
  let folder: string
  const apps: FastifyInstance[] = []

  const migrations = async (name: string, ...files: readonly string[]): Promise<string> => {
    const path = join(folder, name)
    await mkdir(join(path, 'meta'), { recursive: true })
    const entries = files.map((_, i) => ({ tag: `000${i}_${name}`, when: i + 1 }))
    await writeFile(join(path, 'meta/_journal.json'), JSON.stringify({ entries }))
    for (const [i, text] of files.entries()) await writeFile(join(path, `000${i}_${name}.sql`), text)
    return path
  }
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tenancy-shared-'))
    await migrations('shared', SHARED)
    await migrations('own', OWN)
    // The same in the format of drizzle-kit 1.0.
    await mkdir(join(folder, 'shared-1.0/20260101000000_shared'), { recursive: true })
    await writeFile(join(folder, 'shared-1.0/20260101000000_shared/migration.sql'), SHARED)
  })
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()))
    await database?.drop()
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const freshDatabase = async () => (database = await baselineDatabase(postgres15.url))
  const appWith = async (options: TenancyOptions, schema = tables()): Promise<FastifyInstance> => {
    const app = Fastify() as unknown as FastifyInstance
    apps.push(app)
    await app.register(
      tenancy,
      optionsFor(database, {
        migrations: join(folder, 'own'),
        schema,
        sharedTables: ['plans', 'tags'],
        sharedWritable: ['tags'],
        sharedMigrations: join(folder, 'shared'),
        ...options,
      }),
    )
    const db = () => getTenantDb() as PlainDb
    const { accounts, plans, tags } = schema
    app.post('/accounts/:plan', async (request) => {
      const { plan } = request.params as { plan: string }
      await db()
        .insert(accounts)
        .values({ id: 1, planId: Number(plan) })
    })
    app.get('/accounts', async () =>
      (await db().select().from(accounts).innerJoin(plans, eq(accounts.planId, plans.id))).map((row) => row.plans.name),
    )
    app.put('/plans', async () => db().update(plans).set({ name: 'mine' }))
    app.post('/tags/:label', async (request) =>
      db()
        .insert(tags)
        .values(request.params as { label: string }),
    )
    app.get('/tags', async () => (await db().select().from(tags)).map(({ label }) => label))
    return app
  }
  const get = async (app: FastifyInstance, tenant: string, url: string) =>
    (await app.inject({ url, headers: as(tenant) })).json<unknown>()
  const send = (app: FastifyInstance, tenant: string, method: 'POST' | 'PUT', url: string) =>
    app.inject({ method, url, headers: as(tenant) })

  it.each(['schema', 'rls', 'prefix', 'hybrid', 'embedded'] as const)(
    '%s: read by all, written where said so, and there after a purge',
    async (kind) => {
      await freshDatabase()
      const embedded = kind === 'embedded'
      const schema = tables()
      const app = await appWith(
        {
          isolationStrategy: embedded ? 'schema' : kind,
          ...(embedded && { databaseUrl: 'pglite:memory', adminDatabaseUrl: undefined, drizzle: undefined }),
        },
        schema,
      )
      await Promise.all([
        app.tenancy.register({ identifier: 'one', metadata: { tier: 'premium' } }),
        app.tenancy.register({ identifier: 'two' }),
      ])
      expect((await send(app, 'one', 'POST', '/accounts/1')).statusCode).toBe(200)
      expect((await send(app, 'two', 'POST', '/accounts/2')).statusCode).toBe(200)
      expect((await send(app, 'two', 'POST', '/accounts/3')).statusCode).toBe(500)
      expect((await send(app, 'one', 'PUT', '/plans')).statusCode).toBe(500)
      expect(await get(app, 'one', '/accounts')).toEqual(['free'])
      await send(app, 'one', 'POST', '/tags/blue')
      expect(await get(app, 'two', '/tags')).toEqual(['blue'])
      // Who has the admin rights changes them, and all read it.
      const admin = (await app.tenancy.adminDb()) as PlainDb
      await admin.update(schema.plans).set({ name: 'PRO' }).where(eq(schema.plans.id, 2))
      expect(await get(app, 'two', '/accounts')).toEqual(['PRO'])
      await app.tenancy.delete('one')
      await app.tenancy.purge('one')
      expect(await get(app, 'two', '/accounts')).toEqual(['PRO'])
      expect(await get(app, 'two', '/tags')).toEqual(['blue'])
    },
  )

  it('several processes that start at once run the migrations once, of either format', async () => {
    await freshDatabase()
    const started = await Promise.all([1, 2, 3, 4].map(() => appWith({ sharedMigrations: join(folder, 'shared-1.0') })))
    await Promise.all(started.map((app) => app.ready()))
    const { rows } = await asSuperuser(database, (client) =>
      client.query(
        'select (select count(*)::int from shared.plans) as plans, (select count(*)::int from shared.__drizzle_migrations) as runs',
      ),
    )
    expect(rows).toEqual([{ plans: 2, runs: 1 }])
  })

  it('each of several servers has them, and tenants of each read its own', async () => {
    await freshDatabase()
    const other = await baselineDatabase(postgres15.url)
    try {
      const servers = { eu: { databaseUrl: other.appUrl, adminDatabaseUrl: other.adminUrl } }
      const app = await appWith({ servers })
      await app.tenancy.register({ identifier: 'here' })
      await app.tenancy.register({ identifier: 'there', server: 'eu' })
      await asSuperuser(other, (client) => client.query(`update shared.plans set name = 'gratis' where id = 1`))
      for (const tenant of ['here', 'there']) await send(app, tenant, 'POST', '/accounts/1')
      expect(await get(app, 'here', '/accounts')).toEqual(['free'])
      expect(await get(app, 'there', '/accounts')).toEqual(['gratis'])
      await app.close()
    } finally {
      await other.drop()
    }
  })

  it('they can be in a schema of another name', async () => {
    await freshDatabase()
    const app = await appWith({ sharedSchema: 'common' })
    await app.tenancy.register({ identifier: 'one' })
    await send(app, 'one', 'POST', '/accounts/1')
    expect(await get(app, 'one', '/accounts')).toEqual(['free'])
    const { rows } = await asSuperuser(database, (client) => client.query('select name from common.plans order by id'))
    expect(rows).toEqual([{ name: 'free' }, { name: 'pro' }])
  })

  it('a migration that fails stops the start, with its file and statement, and the next start goes on', async () => {
    await freshDatabase()
    const broken = await migrations('broken', SHARED, 'INSERT INTO "plans" VALUES (3, NULL);')
    const app = await appWith({ sharedMigrations: broken })
    await expect(app.ready()).rejects.toMatchObject({
      code: 'TENANCY_ERR_MIGRATION_FAILED',
      message: expect.stringContaining('0001_broken.sql failed at statement 1') as string,
    })
    await migrations('broken', SHARED, `INSERT INTO "plans" VALUES (3, 'max');`)
    await (await appWith({ sharedMigrations: broken })).ready()
  })

  it('a schema that somebody else made is not taken for it', async () => {
    await freshDatabase()
    await asSuperuser(database, (client) => client.query('create schema shared'))
    await expect((await appWith({})).ready()).rejects.toMatchObject({ code: 'TENANCY_ERR_NAMESPACE_EXISTS' })
  })

  it.each([
    [
      'a strategy that cannot reach them',
      { isolationStrategy: 'database' },
      'isolation strategy `database` cannot reach',
    ],
    [
      'one of two such',
      { isolationStrategy: 'hybrid', premiumIsolationStrategy: 'database' },
      'isolation strategy `database` cannot reach',
    ],
    ['a name without a table', { sharedTables: ['plans', 'tags', 'plan'] }, 'no table plan is in `schema`'],
    ['no tables', { schema: undefined }, 'no table plans is in `schema`'],
    ['two tables of one name', { schema: { ...tables(), other: tables().plans } }, 'plans is the name of two tables'],
    [
      'a spelling of its own',
      { schema: { ...tables(), Plans: pgTable('Plans', { id: integer('id') }) } },
      'plans is the name of two',
    ],
  ] as const)('stops the start for %s', async (_what, options, reason) => {
    await freshDatabase()
    const app = Fastify()
    const shared = {
      schema: tables(),
      sharedTables: ['plans', 'tags'],
      sharedMigrations: join(folder, 'shared'),
      ...(options as TenancyOptions),
    }
    await expect(app.register(tenancy, optionsFor(database, shared)).ready()).rejects.toMatchObject({
      code: 'TENANCY_ERR_CONFIG_INVALID',
      message: expect.stringContaining(reason) as string,
    })
    await app.close()
  })
})
