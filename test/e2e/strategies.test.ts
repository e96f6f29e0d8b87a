import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import tenancy, { createMemoryTenantStore, getTenantDb, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, optionsFor, type PlainDb } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

/** One schema file for all strategies: in a schema of its own a tenant simply has one tenant id in all rows. */
const notes = pgTable('notes', { id: integer('id').notNull(), body: text('body').notNull() })

/** It is one database. */
const embedded = { databaseUrl: 'pglite:memory', adminDatabaseUrl: undefined }

const MIGRATION = `CREATE TABLE "notes" (
  "tenant_id" uuid DEFAULT nullif(current_setting('app.current_tenant', true), '')::uuid,
  "id" integer NOT NULL,
  "body" text NOT NULL
);--> statement-breakpoint
CREATE INDEX "notes_body" ON "notes" USING btree ("tenant_id","body");`

describeWith(['postgres15'], 'strategies in an app', ({ postgres15 }) => {
  let database: TestDatabase
  let folder: string
  const apps: FastifyInstance[] = []

  beforeAll(async () => {
    database = await baselineDatabase(postgres15.url)
    folder = await mkdtemp(join(tmpdir(), 'tenancy-strategies-'))
    await mkdir(join(folder, 'meta'))
    await writeFile(join(folder, 'meta/_journal.json'), '{"entries":[{"tag":"0000_notes","when":1}]}')
    await writeFile(join(folder, '0000_notes.sql'), MIGRATION)
  })
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()))
  })
  afterAll(async () => {
    await database?.drop()
    await rm(folder, { recursive: true, force: true })
  })

  const appWith = async (options: TenancyOptions): Promise<FastifyInstance> => {
    const app = Fastify() as unknown as FastifyInstance
    apps.push(app)
    await app.register(tenancy, optionsFor(database, { migrations: folder, ...options }))
    const db = () => getTenantDb() as PlainDb
    app.get('/notes', async () => (await db().select().from(notes)).map(({ body }) => body))
    app.post('/notes/:body', async (request) => {
      const { body } = request.params as { body: string }
      await db().insert(notes).values({ id: 1, body })
      return db().$count(notes)
    })
    app.get('/raw', async () => (await db().execute(sql.raw('select body from notes'))).rows)
    return app
  }
  const notesOf = async (app: FastifyInstance, tenant: string) =>
    (await app.inject({ url: '/notes', headers: as(tenant) })).json<string[]>()
  const add = (app: FastifyInstance, tenant: string, body: string) =>
    app.inject({ method: 'POST', url: `/notes/${body}`, headers: as(tenant) })

  it('with roles of tenants the server refuses another tenant’s schema, and the role goes with the purge', async () => {
    const walled = await baselineDatabase(postgres15.url, { tenantRoles: true })
    const app = await appWith({ databaseUrl: walled.appUrl, adminDatabaseUrl: walled.adminUrl, tenantRoles: true })
    app.get('/theft/:schema', async (request) => {
      const { schema } = request.params as { schema: string }
      return (getTenantDb() as PlainDb).execute(sql.raw(`select * from "${schema}".notes`)).then(
        ({ rows }) => rows,
        (error: { cause?: { code?: string }; code?: string }) => [error.cause?.code ?? error.code],
      )
    })
    const [a, b] = [
      await app.tenancy.register({ identifier: 'wall-a' }),
      await app.tenancy.register({ identifier: 'wall-b' }),
    ]
    for (const identifier of ['wall-a', 'wall-b']) expect((await add(app, identifier, 'note')).json()).toBe(1)
    for (const [schema, expected] of [
      [b, '42501'],
      [a, { body: 'note' }],
    ] as const) {
      const { namespace } = schema.placement
      const answer = await app.inject({ url: `/theft/${namespace}`, headers: as('wall-a') })
      expect(answer.json()).toMatchObject([expected])
    }
    await app.tenancy.delete('wall-a')
    await app.tenancy.purge('wall-a')
    const left = await asSuperuser(
      walled,
      async (client) =>
        (
          await client.query(
            `select rolname from pg_roles where rolname in ('${a.placement.namespace}', '${b.placement.namespace}')`,
          )
        ).rows,
    )
    expect(left).toEqual([{ rolname: b.placement.namespace }])
    await app.close()
    await walled.drop()
  })

  it('with names written out a plain one finds nothing, and the rest is as before', async () => {
    const quiet = await baselineDatabase(postgres15.url, { qualified: true })
    const urls = { databaseUrl: quiet.appUrl, adminDatabaseUrl: quiet.adminUrl }
    const app = await appWith({ ...urls, schemaScoping: 'qualified', schema: { notes } })
    for (const identifier of ['quiet-a', 'quiet-b']) {
      await app.tenancy.register({ identifier })
      expect((await add(app, identifier, `of-${identifier}`)).json()).toBe(1)
    }
    expect(await notesOf(app, 'quiet-a')).toEqual(['of-quiet-a'])
    expect((await app.inject({ url: '/raw', headers: as('quiet-a') })).statusCode).toBe(500)
    await app.close()
    await expect(appWith({ ...urls, schemaScoping: 'qualified' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_CONFIG_INVALID',
    })
    await quiet.drop()
  })

  it.each(['schema', 'rls', 'prefix'] as const)(
    '%s keeps tenants apart from the first request to the purge',
    async (isolationStrategy) => {
      const app = await appWith({ isolationStrategy, schema: { notes } })
      const [a, b] = [`${isolationStrategy}-a`, `${isolationStrategy}-b`]
      const tenant = await app.tenancy.register({ identifier: a })
      await app.tenancy.ensure({ identifier: b })
      expect(tenant.placement.strategy).toBe(isolationStrategy)
      for (const identifier of [a, b]) expect((await add(app, identifier, `of-${identifier}`)).json()).toBe(1)
      expect(await notesOf(app, a)).toEqual([`of-${a}`])
      expect(await notesOf(app, b)).toEqual([`of-${b}`])
      await app.tenancy.delete(a)
      await app.tenancy.purge(a)
      expect(await notesOf(app, b)).toEqual([`of-${b}`])
    },
  )

  it('[W2] [W35] a hybrid serves each tenant by its tier, list or function, and only its own rows', async () => {
    const app = await appWith({ isolationStrategy: 'hybrid', premiumTenants: ['listed'] })
    const placed = async (identifier: string, more: object = {}) =>
      (await app.tenancy.register({ identifier, ...more })).placement.strategy
    expect(await placed('standard')).toBe('rls')
    expect(await placed('listed')).toBe('schema')
    expect(await placed('tiered', { metadata: { tier: 'premium' } })).toBe('schema')
    expect(await placed('asking', { strategy: 'schema' })).toBe('schema')
    expect(await placed('other', { metadata: { tier: 'basic' } })).toBe('rls')
    const all = ['standard', 'listed', 'tiered', 'asking', 'other']
    for (const tenant of all) expect((await add(app, tenant, `of-${tenant}`)).json()).toBe(1)
    for (const tenant of all) expect(await notesOf(app, tenant)).toEqual([`of-${tenant}`])
    // A tenant that moves up keeps the place it has: only its data could move it.
    await app.tenancy.update('standard', { metadata: { tier: 'premium' } })
    expect(await notesOf(app, 'standard')).toEqual(['of-standard'])
    await app.tenancy.delete('listed')
    await app.tenancy.purge('listed')
    for (const tenant of all.filter((one) => one !== 'listed'))
      expect(await notesOf(app, tenant)).toEqual([`of-${tenant}`])
    expect((await app.inject({ url: '/notes', headers: as('listed') })).statusCode).toBe(400)
  })

  it('a hybrid can be chosen by a function, which sees the tenant', async () => {
    const app = await appWith({
      isolationStrategy: 'hybrid',
      schema: { notes },
      chooseStrategy: ({ identifier }) => (identifier.startsWith('pre') ? 'prefix' : 'rls'),
    })
    expect((await app.tenancy.register({ identifier: 'prefixed' })).placement.strategy).toBe('prefix')
    expect((await app.tenancy.register({ identifier: 'by-row' })).placement.strategy).toBe('rls')
    for (const tenant of ['prefixed', 'by-row']) await add(app, tenant, `of-${tenant}`)
    for (const tenant of ['prefixed', 'by-row']) expect(await notesOf(app, tenant)).toEqual([`of-${tenant}`])
    expect((await app.inject({ url: '/raw', headers: as('prefixed') })).statusCode).toBe(500)
    expect((await app.inject({ url: '/raw', headers: as('by-row') })).json()).toEqual([{ body: 'of-by-row' }])
  })

  it('[W53] refuses a strategy that is not configured when the tenant is registered, not at its first request', async () => {
    const app = await appWith({})
    const registering = app.tenancy.register({ identifier: 'wanting-more', strategy: 'rls' })
    await expect(registering).rejects.toMatchObject({ code: 'TENANCY_ERR_STRATEGY_UNSUPPORTED' })
    expect(await app.tenancy.get('wanting-more')).toBeUndefined()
  })

  it('does not serve a tenant that another strategy placed', async () => {
    const store = createMemoryTenantStore()
    const before = await appWith({ tenantStore: store })
    await before.tenancy.register({ identifier: 'moved' })
    const after = await appWith({ tenantStore: store, isolationStrategy: 'rls' })
    await after.ready()
    const response = await after.inject({ url: '/notes', headers: as('moved') })
    expect(response.statusCode).toBe(503)
    expect(response.json()).toMatchObject({ code: 'TENANCY_ERR_STRATEGY_NOT_CONFIGURED' })
  })

  it.each([
    [{ ...embedded, isolationStrategy: 'database' }, 'TENANCY_ERR_STRATEGY_UNSUPPORTED'],
    [
      { ...embedded, isolationStrategy: 'hybrid', premiumIsolationStrategy: 'database' },
      'TENANCY_ERR_STRATEGY_UNSUPPORTED',
    ],
    [{ isolationStrategy: 'prefix' }, 'TENANCY_ERR_CONFIG_INVALID'],
    [{ isolationStrategy: 'prefix', schema: { helper: () => 1 } }, 'TENANCY_ERR_CONFIG_INVALID'],
  ] as const)('stops the start for %o', async (options, code) => {
    const app = Fastify()
    await expect(app.register(tenancy, optionsFor(database, options)).ready()).rejects.toMatchObject({ code })
    await app.close()
  })

  it('[W10] stops the start under rls when policies would not bind the serving role', async () => {
    const app = await appWith({ isolationStrategy: 'rls', databaseUrl: database.adminUrl })
    await expect(app.ready()).rejects.toMatchObject({ code: 'TENANCY_ERR_RLS_BYPASSED' })
  })

  it('the shared schemas have the names that the configuration gives them', async () => {
    const app = await appWith({
      isolationStrategy: 'hybrid',
      premiumIsolationStrategy: 'prefix',
      premiumTenants: ['named-prefix'],
      schema: { notes },
      rlsSchema: 'our_rows',
      prefixSchema: 'our_prefixes',
    })
    await app.tenancy.register({ identifier: 'named-row' })
    await app.tenancy.register({ identifier: 'named-prefix' })
    const found = await asSuperuser(database, (client) =>
      client.query(
        "select n.nspname as schema from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname like 'our%' and relname like '%notes' order by 1",
      ),
    )
    expect(found.rows).toEqual([{ schema: 'our_prefixes' }, { schema: 'our_rows' }])
  })

  it('the column that says whose a row is can have another name', async () => {
    const other = await mkdtemp(join(tmpdir(), 'tenancy-column-'))
    await mkdir(join(other, 'meta'))
    await writeFile(join(other, 'meta/_journal.json'), '{"entries":[{"tag":"0000","when":1}]}')
    await writeFile(
      join(other, '0000.sql'),
      'CREATE TABLE "notes" ("account_id" uuid, "id" integer NOT NULL, "body" text NOT NULL);',
    )
    const app = await appWith({
      isolationStrategy: 'rls',
      rlsSchema: 'by_account',
      tenantColumn: 'account_id',
      migrations: other,
    })
    for (const tenant of ['account-a', 'account-b']) {
      await app.tenancy.register({ identifier: tenant })
      await add(app, tenant, `of-${tenant}`)
    }
    expect(await notesOf(app, 'account-a')).toEqual(['of-account-a'])
    await rm(other, { recursive: true })
  })
})
