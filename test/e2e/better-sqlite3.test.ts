import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { eq, sql } from 'drizzle-orm'
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { findTenancyError } from '../../src/errors.ts'
import tenancy, { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { codeNow } from '../support/errors.ts'

const notes = sqliteTable('notes', { id: integer('id').primaryKey(), body: text('body').notNull() })
const MIGRATION = 'CREATE TABLE `notes` (`id` integer PRIMARY KEY NOT NULL, `body` text NOT NULL);'

type Db = BetterSQLite3Database

describeWith(['better-sqlite3'], 'better-sqlite3 in an app', () => {
  let folder: string
  let migrations: string
  let drizzle: (options: { client: never }) => Db
  const apps: FastifyInstance[] = []

  beforeAll(async () => {
    drizzle = (await import('drizzle-orm/better-sqlite3')).drizzle as never
    folder = await mkdtemp(join(tmpdir(), 'tenancy-better-'))
    migrations = join(folder, 'drizzle')
    await mkdir(join(migrations, 'meta'), { recursive: true })
    await writeFile(join(migrations, 'meta/_journal.json'), '{"entries":[{"tag":"0000_notes","when":1}]}')
    await writeFile(join(migrations, '0000_notes.sql'), MIGRATION)
  })
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const db = () => getTenantDb() as Db
  const bodies = () =>
    db()
      .select()
      .from(notes)
      .orderBy(notes.id)
      .all()
      .map(({ body }) => body)
  const add = (body: string, on = db()) => on.insert(notes).values({ body }).run()
  const start = async (name: string, options: TenancyOptions = {}): Promise<FastifyInstance> => {
    const app = Fastify() as unknown as FastifyInstance
    apps.push(app)
    await app.register(tenancy, {
      databaseUrl: `file:${join(folder, `${name}.db`)}`,
      sqliteDriver: 'better-sqlite3',
      migrations,
      schema: { notes },
      drizzle: (client) => drizzle({ client: client as never }),
      ...options,
    })
    app.get('/notes', async () => bodies())
    app.post('/notes/:body', async (request) => {
      add((request.params as { body: string }).body)
      return db().$count(notes)
    })
    // Inside its callback `getTenantDb()` is the transaction: a helper that writes takes part.
    app.post('/joined/:body', async (request) => {
      const { body } = request.params as { body: string }
      return db().transaction(() => {
        add(body)
        db().transaction(() =>
          db()
            .update(notes)
            .set({ body: `${body}!` })
            .where(eq(notes.body, body))
            .run(),
        )
        return bodies().length
      })
    })
    app.post('/undone/:body', async (request) => {
      db().transaction((tx) => {
        add((request.params as { body: string }).body, tx as unknown as Db)
        throw new Error('undo')
      })
    })
    app.get('/registry', async () => db().all(sql`select * from tenants`))
    app.get('/raw', async () => db().all(sql`select body from notes`))
    return app
  }
  const post = (app: FastifyInstance, tenant: string, url: string) =>
    app.inject({ method: 'POST', url, headers: as(tenant) })
  const notesOf = async (app: FastifyInstance, tenant: string) =>
    (await app.inject({ url: '/notes', headers: as(tenant) })).json<string[]>()
  const codeIn = (app: FastifyInstance, tenant: string, work: () => unknown) =>
    app.tenancy.run(tenant, async () => {
      try {
        await work()
        return undefined
      } catch (error) {
        return findTenancyError(error)?.code ?? String(error)
      }
    })

  it.each([
    ['database', 'database'],
    ['prefix', 'prefix'],
    ['schema', 'prefix'],
  ] as const)('%s keeps tenants apart from the first request to the purge', async (isolationStrategy, carried) => {
    const app = await start('first', { isolationStrategy })
    const [a, b] = [`${isolationStrategy}-a`, `${isolationStrategy}-b`]
    const tenant = await app.tenancy.register({ identifier: a })
    await app.tenancy.ensure({ identifier: b })
    await app.tenancy.ensure({ identifier: b })
    expect(tenant.placement.strategy).toBe(carried)
    for (const identifier of [a, b]) expect((await post(app, identifier, `/notes/of-${identifier}`)).json()).toBe(1)
    expect((await post(app, a, '/joined/joined')).json()).toBe(2)
    expect((await post(app, a, '/undone/bad')).statusCode).toBe(500)
    expect(await notesOf(app, a)).toEqual([`of-${a}`, 'joined!'])
    expect(await notesOf(app, b)).toEqual([`of-${b}`])
    const raw = await app.inject({ url: '/raw', headers: as(b) })
    if (carried === 'database') expect(raw.json()).toEqual([{ body: `of-${b}` }])
    else expect(raw.statusCode).toBe(500)
    expect((await app.inject({ url: '/registry', headers: as(b) })).statusCode).toBe(500)
    expect(await app.tenancy.health()).toMatchObject({ ok: true })
    expect(await app.tenancy.verify(a)).toMatchObject({ ok: true })
    expect((await app.tenancy.doctor()).findings).toEqual([])

    const kept = await app.tenancy.run(a, () => db())
    await app.tenancy.suspend(a)
    expect(codeNow(() => kept.select().from(notes).all())).toBe('TENANCY_ERR_TENANT_REVOKED')
    await app.tenancy.delete(a)
    expect(await app.tenancy.purge(a)).toMatchObject({ rows: 0 })
    expect(await notesOf(app, b)).toEqual([`of-${b}`])
    expect((await app.inject({ url: '/notes', headers: as(a) })).statusCode).toBe(400)
  })

  it.each(['database', 'prefix'] as const)(
    '%s: an asynchronous callback is refused, and nothing of it is ever written',
    async (isolationStrategy) => {
      const app = await start(`async-${isolationStrategy}`, { isolationStrategy })
      await app.tenancy.ensure({ identifier: 'acme' })
      const outcomes: unknown[] = []
      const late = async (tx: Db) => {
        for (const on of [tx, db(), tx]) {
          await setImmediate()
          try {
            add('late', on)
            outcomes.push('written')
          } catch (error) {
            outcomes.push(findTenancyError(error)?.code)
          }
        }
      }
      const refused = 'TENANCY_ERR_STATEMENT_REFUSED'
      // oxlint-disable-next-line typescript/no-misused-promises -- that is what is tried
      expect(await codeIn(app, 'acme', () => db().transaction((async (tx: Db) => late(tx)) as never))).toBe(refused)
      const nested = () => db().transaction((tx) => tx.transaction((async (inner: Db) => late(inner)) as never))
      expect(await codeIn(app, 'acme', nested)).toBe(refused)
      // One that is not even begun, because nobody awaits it.
      const unsent = () => db().transaction((tx) => tx.insert(notes).values({ body: 'unsent' }) as never)
      expect(await codeIn(app, 'acme', unsent)).toBe(refused)
      const [kept, tx] = await app.tenancy.run('acme', () => {
        let left: unknown
        db().transaction((inner) => {
          left = inner
          add('committed', inner as unknown as Db)
        })
        return [db(), left as Db]
      })
      expect(codeNow(() => add('late', tx))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      for (let i = 0; i < 20; i++) await setImmediate()
      // Whose context is that of the transaction is refused by its database, and by the transaction.
      expect(outcomes).toEqual(Array.from({ length: 6 }, () => 'TENANCY_ERR_TRANSACTION_FINISHED'))
      // Outside of any tenant's context too.
      expect(() => kept.transaction((async (one: Db) => late(one)) as never)).toThrow(/asynchronous/)
      for (let i = 0; i < 10; i++) await setImmediate()
      expect(await notesOf(app, 'acme')).toEqual(['committed'])
      const admin = (await app.tenancy.adminDb()) as Db
      expect(() => admin.transaction((async () => {}) as never)).toThrow(/asynchronous/)
    },
  )

  it('a transaction for a whole request is refused when its route is added', async () => {
    const app = await start('routes', { isolationStrategy: 'database' })
    expect(() => app.get('/whole', { config: { tenancy: { transaction: true } } }, async () => bodies())).toThrow(
      /\/whole.*better-sqlite3/,
    )
  })

  it('thousands of interleaved requests of twenty tenants see and change only their own', async () => {
    const app = await start('many', {
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
    const kinds = ['notes', 'joined', 'undone'] as const
    let written = 0
    await Promise.all(
      Array.from({ length: 2000 }, async (_, i) => {
        const name = names[(i * 7) % names.length] as string
        const kind = kinds[i % kinds.length] as (typeof kinds)[number]
        if (i % 5 === 0) for (const body of await notesOf(app, name)) expect(body.startsWith(`${name}-`)).toBe(true)
        else if ((await post(app, name, `/${kind}/${name}-${i}`)).statusCode === 200) written++
      }),
    )
    let rows = 0
    for (const name of names) {
      const own = await notesOf(app, name)
      rows += own.length
      expect(own.filter((body) => !body.startsWith(`${name}-`))).toEqual([])
    }
    expect(rows).toBe(written)
    expect(rows).toBeGreaterThan(1000)
    expect(app.tenancy.getMetrics().pools['tenants']?.total).toBeLessThanOrEqual(3)
  }, 120_000)

  it('tenants that come and go while others write: a write is done, or refused at once', async () => {
    const app = await start('coming', { isolationStrategy: 'prefix' })
    await app.tenancy.ensure({ identifier: 'acme' })
    let done = 0
    const coming = { ended: false }
    const guests = (async () => {
      for (let i = 0; i < 20; i++) {
        await app.tenancy.register({ identifier: `guest-${i}` })
        await app.tenancy.delete(`guest-${i}`)
        await app.tenancy.purge(`guest-${i}`)
      }
      coming.ended = true
    })()
    while (!coming.ended) {
      const { statusCode } = await post(app, 'acme', `/notes/n-${done}`)
      expect([200, 503]).toContain(statusCode)
      if (statusCode === 200) done++
    }
    await guests
    expect(await notesOf(app, 'acme')).toHaveLength(done)
    expect(done).toBeGreaterThan(0)
  })

  it('outlives the app, in files that libsql reads too, which nothing here has loaded', async () => {
    const options = { isolationStrategy: 'prefix' } as const
    const first = await start('kept', options)
    await first.tenancy.register({ identifier: 'acme', metadata: { plan: 'pro' } })
    await post(first, 'acme', '/notes/kept')
    await first.close()
    const second = await start('kept', options)
    expect(await notesOf(second, 'acme')).toEqual(['kept'])
    expect(await second.tenancy.get('acme')).toMatchObject({ metadata: { plan: 'pro' }, status: 'active' })
    const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] }
    expect(sharedObjects.filter((path) => /libsql/.test(path))).toEqual([])
    expect(sharedObjects.filter((path) => /better_sqlite3/.test(path))).toHaveLength(1)
    await second.close()

    const { drizzle: drizzleLibsql } = await import('drizzle-orm/libsql')
    const third = await start('kept', {
      ...options,
      sqliteDriver: 'libsql',
      drizzle: (client) => drizzleLibsql({ client: client as never }),
    })
    third.get('/async', async () => db().select({ body: notes.body }).from(notes))
    expect((await third.inject({ url: '/async', headers: as('acme') })).json()).toEqual([{ body: 'kept' }])
  })
})
