import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drizzle, type LibSQLDatabase } from 'drizzle-orm/libsql'
import { eq, sql } from 'drizzle-orm'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import tenancy, { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { as } from '../support/app.ts'

const notes = sqliteTable('notes', { id: integer('id').primaryKey(), body: text('body').notNull() })
const MIGRATION = 'CREATE TABLE `notes` (`id` integer PRIMARY KEY NOT NULL, `body` text NOT NULL);'

describe('SQLite in an app', () => {
  let folder: string
  let migrations: string
  const apps: FastifyInstance[] = []

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tenancy-app-'))
    migrations = join(folder, 'drizzle')
    await mkdir(join(migrations, 'meta'), { recursive: true })
    await writeFile(join(migrations, 'meta/_journal.json'), '{"entries":[{"tag":"0000_notes","when":1}]}')
    await writeFile(join(migrations, '0000_notes.sql'), MIGRATION)
  })
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const db = () => getTenantDb() as LibSQLDatabase
  const appWith = async (options: TenancyOptions): Promise<FastifyInstance> => {
    const app = Fastify() as unknown as FastifyInstance
    apps.push(app)
    await app.register(tenancy, {
      databaseUrl: `file:${join(folder, 'app.db')}`,
      migrations,
      schema: { notes },
      drizzle: (client) => drizzle({ client }),
      ...options,
    })
    app.get('/notes', async () => (await db().select().from(notes)).map(({ body }) => body))
    app.post('/notes/:body', async (request) => {
      const { body } = request.params as { body: string }
      await db().insert(notes).values({ body })
      return db().$count(notes)
    })
    // Inside its callback `getTenantDb()` is the transaction: a helper that writes takes part.
    app.post('/joined/:body', async (request) => {
      const { body } = request.params as { body: string }
      await db().transaction(async () => {
        await db().insert(notes).values({ body })
        await db().transaction(async () =>
          db()
            .update(notes)
            .set({ body: `${body}!` })
            .where(eq(notes.body, body)),
        )
      })
      return db().$count(notes)
    })
    app.post('/undone/:body', { config: { tenancy: { transaction: true } } }, async (request) => {
      const { body } = request.params as { body: string }
      await db().insert(notes).values({ body })
      if (body === 'bad') throw new Error('undo')
      return db().$count(notes)
    })
    app.post('/stuck', async () => {
      const outside = db()
      await outside.transaction(async () => {
        await db().insert(notes).values({ body: 'inside' })
        await outside.insert(notes).values({ body: 'outside' })
      })
    })
    app.get('/registry', async () => db().all(sql`select * from tenants`))
    app.get('/raw', async () => db().all(sql`select body from notes`))
    return app
  }
  const post = async (app: FastifyInstance, tenant: string, url: string) =>
    app.inject({ method: 'POST', url, headers: as(tenant) })
  const notesOf = async (app: FastifyInstance, tenant: string) =>
    (await app.inject({ url: '/notes', headers: as(tenant) })).json<string[]>()

  it.each([
    ['database', 'database'],
    ['prefix', 'prefix'],
    ['schema', 'prefix'],
  ] as const)('%s keeps tenants apart from the first request to the purge', async (isolationStrategy, carried) => {
    const app = await appWith({ isolationStrategy })
    const [a, b] = [`${isolationStrategy}-a`, `${isolationStrategy}-b`]
    const tenant = await app.tenancy.register({ identifier: a })
    await app.tenancy.ensure({ identifier: b })
    await app.tenancy.ensure({ identifier: b })
    expect(tenant.placement.strategy).toBe(carried)
    for (const identifier of [a, b]) expect((await post(app, identifier, `/notes/of-${identifier}`)).json()).toBe(1)
    expect((await post(app, a, '/joined/joined')).json()).toBe(2)
    expect((await post(app, a, '/undone/good')).json()).toBe(3)
    expect((await post(app, a, '/undone/bad')).statusCode).toBe(500)
    const stuck = await post(app, a, '/stuck')
    expect(stuck.json()).toMatchObject({ code: 'TENANCY_ERR_STATEMENT_REFUSED' })
    expect(await notesOf(app, a)).toEqual([`of-${a}`, 'joined!', 'good'])
    expect(await notesOf(app, b)).toEqual([`of-${b}`])
    const raw = await app.inject({ url: '/raw', headers: as(b) })
    if (carried === 'database') expect(raw.json()).toEqual([{ body: `of-${b}` }])
    else expect(raw.statusCode).toBe(500)
    expect(await app.tenancy.health()).toMatchObject({ ok: true })

    await app.tenancy.delete(a)
    expect(await app.tenancy.purge(a)).toMatchObject({ rows: 0 })
    expect(await notesOf(app, b)).toEqual([`of-${b}`])
    expect((await app.inject({ url: '/notes', headers: as(a) })).statusCode).toBe(400)
  })

  it('thousands of interleaved requests of twenty tenants see and change only their own', async () => {
    const app = await appWith({
      isolationStrategy: 'hybrid',
      premiumIsolationStrategy: 'database',
      standardIsolationStrategy: 'prefix',
      databaseMaxTenantConnections: 6,
    })
    const names = Array.from({ length: 20 }, (_, i) => `tenant-${i}`)
    await Promise.all(
      names.map((identifier, i) =>
        app.tenancy.register({ identifier, metadata: i % 2 === 0 ? { tier: 'premium' } : {} }),
      ),
    )
    const kinds = ['notes', 'joined', 'undone', 'stuck'] as const
    const work = Array.from({ length: 2000 }, async (_, i) => {
      const name = names[(i * 7) % names.length] as string
      const kind = kinds[i % kinds.length] as (typeof kinds)[number]
      if (i % 5 === 0) {
        for (const body of await notesOf(app, name)) expect(body.startsWith(`${name}-`)).toBe(true)
      } else
        await post(
          app,
          name,
          kind === 'stuck' ? '/stuck' : `/${kind}/${i % 11 === 0 && kind === 'undone' ? 'bad' : `${name}-${i}`}`,
        )
    })
    await Promise.all(work)
    let rows = 0
    for (const name of names) {
      const bodies = await notesOf(app, name)
      rows += bodies.length
      expect(bodies.filter((body) => !body.startsWith(`${name}-`))).toEqual([])
    }
    expect(rows).toBeGreaterThan(1000)
    expect(app.tenancy.getMetrics().pools['tenants']?.total).toBeLessThanOrEqual(3)
  }, 120_000)

  it.each(['database', 'prefix'] as const)(
    '%s: the registry outlives the app, and no tenant reaches it',
    async (strategy) => {
      const options = { isolationStrategy: strategy, databaseUrl: `file:${join(folder, `kept-${strategy}.db`)}` }
      const first = await appWith(options)
      await first.tenancy.register({ identifier: 'acme', metadata: { plan: 'pro' } })
      await post(first, 'acme', '/notes/kept')
      await first.close()
      expect(await readdir(folder)).toContain(`kept-${strategy}.db.registry`)

      const second = await appWith(options)
      expect(await notesOf(second, 'acme')).toEqual(['kept'])
      expect(await second.tenancy.get('acme')).toMatchObject({ metadata: { plan: 'pro' }, status: 'active' })
      const reached = await second.inject({ url: '/registry', headers: as('acme') })
      expect(reached.statusCode).toBe(500)
      expect(reached.body).not.toContain('pro')
    },
  )

  it('the folder of the tenants can be chosen', async () => {
    const tenantFolder = join(folder, 'elsewhere')
    const app = await appWith({ isolationStrategy: 'database', tenantFolder })
    const { placement } = await app.tenancy.register({ identifier: 'acme' })
    expect(await readdir(tenantFolder)).toContain(`${placement.namespace}.db`)
  })

  it('row-level security is not there, and said so at boot', async () => {
    await expect(appWith({ isolationStrategy: 'rls' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_STRATEGY_UNSUPPORTED',
    })
    await expect(appWith({ databaseUrl: 'file::memory:' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_CONFIG_INVALID',
    })
  })
})
