import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import type { FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { as, type PlainDb, tenantApp } from '../support/app.ts'
import { databaseHost, type DatabaseHost } from '../support/tenant-databases.ts'

const notes = pgTable('notes', { id: integer('id').notNull(), body: text('body').notNull() })
const MIGRATION = `CREATE TABLE "notes" ("tenant_id" uuid, "id" integer NOT NULL, "body" text NOT NULL);`

describeWith(['postgres15'], 'a database per tenant in an app', ({ postgres15 }) => {
  let host: DatabaseHost
  let folder: string
  const apps: FastifyInstance[] = []

  beforeAll(async () => {
    host = await databaseHost(postgres15.url)
    folder = await mkdtemp(join(tmpdir(), 'tenancy-databases-'))
    await mkdir(join(folder, 'meta'))
    await writeFile(join(folder, 'meta/_journal.json'), '{"entries":[{"tag":"0000_notes","when":1}]}')
    await writeFile(join(folder, '0000_notes.sql'), MIGRATION)
  })
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()))
  })
  afterAll(async () => {
    await host?.drop()
    await rm(folder, { recursive: true, force: true })
  })

  const appWith = async (options: TenancyOptions = {}): Promise<FastifyInstance> => {
    const app = await tenantApp(host, {
      migrations: folder,
      isolationStrategy: 'database',
      databaseTemplate: host.template,
      ...options,
    })
    apps.push(app)
    const db = () => getTenantDb() as PlainDb
    app.get('/notes', async () => (await db().select({ body: notes.body }).from(notes)).map(({ body }) => body))
    app.get('/slow', async () => (await db().execute(sql`select pg_sleep(1.5)`)).rowCount)
    app.post('/notes/:body', { config: { tenancy: { transaction: true } } }, async (request) => {
      const { body } = request.params as { body: string }
      await db().insert(notes).values({ id: 1, body })
      return db().$count(notes)
    })
    return app
  }
  const notesOf = async (app: FastifyInstance, tenant: string) =>
    (await app.inject({ url: '/notes', headers: as(tenant) })).json<string[]>()
  const add = (app: FastifyInstance, tenant: string) =>
    app.inject({ method: 'POST', url: `/notes/of-${tenant}`, headers: as(tenant) })
  const sessionsIn = (database: string) =>
    host.asSuperuserIn('postgres', async (client) => {
      const { rows } = await client.query<{ n: number }>(
        "select count(*)::int as n from pg_stat_activity where datname = $1 and backend_type = 'client backend'",
        [database],
      )
      return rows[0]?.n
    })

  it('keeps tenants apart from the first request to the purge', async () => {
    const app = await appWith()
    const { placement } = await app.tenancy.register({ identifier: 'first' })
    await app.tenancy.ensure({ identifier: 'second' })
    expect(placement.strategy).toBe('database')
    for (const tenant of ['first', 'second']) expect((await add(app, tenant)).json()).toBe(1)
    for (const tenant of ['first', 'second']) expect(await notesOf(app, tenant)).toEqual([`of-${tenant}`])
    expect(app.tenancy.getMetrics().pools['tenants']).toMatchObject({ idle: 2, waiting: 0 })
    await app.tenancy.update('first', { identifier: 'renamed' })
    expect(await notesOf(app, 'renamed')).toEqual(['of-first'])
    await app.tenancy.delete('renamed')
    const report = await app.tenancy.purge('renamed')
    expect(report.objects).toBeGreaterThan(1)
    expect(await notesOf(app, 'second')).toEqual(['of-second'])
    const left = await host.asSuperuserIn('postgres', (client) =>
      client.query('select 1 from pg_database where datname = $1', [placement.namespace]),
    )
    expect(left.rows).toEqual([])
  })

  it('[W54] closes the connections of a tenant that is suspended or deleted, and opens new ones when it is back', async () => {
    const app = await appWith()
    const { placement } = await app.tenancy.register({ identifier: 'pausing' })
    await add(app, 'pausing')
    expect(await sessionsIn(placement.namespace)).toBe(1)
    await app.tenancy.suspend('pausing')
    await expect.poll(() => sessionsIn(placement.namespace)).toBe(0)
    await app.tenancy.activate('pausing')
    expect(await notesOf(app, 'pausing')).toEqual(['of-pausing'])
    await app.tenancy.delete('pausing')
    await expect.poll(() => sessionsIn(placement.namespace)).toBe(0)
  })

  it('[W54] another process closes them as soon as it hears of it', async () => {
    const [one, two] = [await appWith(), await appWith({ l1CacheTtlSeconds: 1 })]
    const { placement } = await one.tenancy.register({ identifier: 'elsewhere' })
    await add(two, 'elsewhere')
    expect(await sessionsIn(placement.namespace)).toBe(1)
    await one.tenancy.suspend('elsewhere')
    await expect
      .poll(async () => (await two.inject({ url: '/notes', headers: as('elsewhere') })).statusCode, { timeout: 3000 })
      .toBe(403)
    await expect.poll(() => sessionsIn(placement.namespace)).toBe(0)
  })

  it('[W57] answers 503 with Retry-After when the budget is used up for too long', async () => {
    const app = await appWith({ databaseMaxTenantConnections: 1, databasePoolTimeout: 1 })
    for (const identifier of ['busy', 'waiting']) await app.tenancy.register({ identifier })
    await expect.poll(() => app.tenancy.getMetrics().pools['tenants']).toMatchObject({ total: 0 })
    const slow = Promise.resolve(app.inject({ url: '/slow', headers: as('busy') }))
    await expect.poll(() => app.tenancy.getMetrics().pools['tenants']).toMatchObject({ total: 1, idle: 0 })
    const refused = await app.inject({ url: '/notes', headers: as('waiting') })
    expect(refused.statusCode).toBe(503)
    expect(refused.json()).toMatchObject({ code: 'TENANCY_ERR_POOL_TIMEOUT' })
    expect(refused.headers['retry-after']).toBe('5')
    expect((await slow).statusCode).toBe(200)
    expect(await notesOf(app, 'waiting')).toEqual([])
  })

  it('gives one tenant no more than databaseTenantPoolSize', async () => {
    const app = await appWith({ databaseTenantPoolSize: 2 })
    await app.tenancy.register({ identifier: 'greedy' })
    const greedy = () => Promise.resolve(app.inject({ url: '/slow', headers: as('greedy') }))
    const answers = Array.from({ length: 4 }, greedy)
    await expect.poll(() => app.tenancy.getMetrics().pools['tenants']).toEqual({ total: 2, idle: 0, waiting: 2 })
    expect((await Promise.all(answers)).map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200])
  })

  it('[W25] a hybrid gives premium tenants a database and all others rows', async () => {
    const app = await appWith({
      isolationStrategy: 'hybrid',
      premiumIsolationStrategy: 'database',
      premiumTenants: ['premium'],
      migrations: folder,
    })
    const placed = async (identifier: string) => (await app.tenancy.register({ identifier })).placement.strategy
    expect([await placed('premium'), await placed('standard')]).toEqual(['database', 'rls'])
    for (const tenant of ['premium', 'standard']) expect((await add(app, tenant)).json()).toBe(1)
    for (const tenant of ['premium', 'standard']) expect(await notesOf(app, tenant)).toEqual([`of-${tenant}`])
  })

  it('[W3] [W49] a registration that fails leaves neither tenant nor database', async () => {
    const broken = await mkdtemp(join(tmpdir(), 'tenancy-broken-'))
    await mkdir(join(broken, 'meta'))
    await writeFile(join(broken, 'meta/_journal.json'), '{"entries":[{"tag":"0000","when":1}]}')
    await writeFile(join(broken, '0000.sql'), 'CREATE TABLE "notes" ("id" nothing);')
    const app = await appWith({ migrations: broken })
    await app.ready()
    const databases = () =>
      host.asSuperuserIn('postgres', async (client) =>
        (await client.query('select datname from pg_database order by 1')).rows.map((row: object) => row),
      )
    const before = await databases()
    await expect(app.tenancy.register({ identifier: 'stillborn' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_MIGRATION_FAILED',
    })
    expect(await databases()).toEqual(before)
    expect(await app.tenancy.get('stillborn')).toBeUndefined()
    await rm(broken, { recursive: true })
  })
})
