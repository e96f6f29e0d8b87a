import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'drizzle-orm-v1'
import { int, mssqlTable, nvarchar } from 'drizzle-orm-v1/mssql-core'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import tenancy, { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { as } from '../support/app.ts'
import { asSuper, describeMssql, type MssqlDatabase, mssqlDatabase } from '../support/mssql.ts'

const notes = mssqlTable('notes', {
  id: int('id').primaryKey().identity(),
  body: nvarchar('body', { length: 200 }).notNull(),
})
const MIGRATION =
  'CREATE TABLE [notes] ([id] int IDENTITY(1, 1), [body] nvarchar(200) NOT NULL, CONSTRAINT [notes_pkey] PRIMARY KEY([id]));'

/** What is used of a Drizzle database. */
interface Db {
  select(): { from(table: typeof notes): Promise<{ body: string }[]> }
  insert(table: typeof notes): { values(row: object): Promise<unknown> }
  execute(query: unknown): Promise<unknown>
}

describeMssql('SQL Server in an app, the registry too', (url) => {
  let database: MssqlDatabase
  let drizzle: (options: { client: object }) => object
  const namespaces: string[] = []
  const migrations = mkdtempSync(join(tmpdir(), 'tenancy-mssql-'))

  beforeAll(async () => {
    database = await mssqlDatabase(url)
    // Not at the top: drizzle-orm 0.45 has no such entry.
    ;({ drizzle } = (await import('drizzle-orm/node-mssql')) as unknown as { drizzle: typeof drizzle })
    mkdirSync(join(migrations, '20260101000000_notes'))
    writeFileSync(join(migrations, '20260101000000_notes/migration.sql'), MIGRATION)
  })
  afterAll(async () => {
    await database?.drop(namespaces)
    rmSync(migrations, { recursive: true, force: true })
  })

  const db = () => getTenantDb() as Db
  const appWith = async (options: TenancyOptions, warnings: string[] = []): Promise<FastifyInstance> => {
    const stream = { write: (line: string) => void warnings.push((JSON.parse(line) as { msg: string }).msg) }
    const app = Fastify({ logger: { level: 'warn', stream } }) as unknown as FastifyInstance
    onTestFinished(() => app.close())
    await app.register(tenancy, {
      databaseUrl: database.url,
      adminDatabaseUrl: database.adminUrl,
      migrations,
      schema: { notes },
      drizzle: (client) => drizzle({ client }),
      ...options,
    })
    app.get('/notes', async () => (await db().select().from(notes)).map(({ body }) => body))
    app.post('/notes/:body', async (request) => {
      await db()
        .insert(notes)
        .values(request.params as { body: string })
      return 'added'
    })
    app.get('/registry', async () => db().execute(sql.raw('select * from [tenancy].[tenants]')))
    return app
  }
  const notesOf = async (app: FastifyInstance, tenant: string) =>
    (await app.inject({ url: '/notes', headers: as(tenant) })).json<string[]>()

  const strategies = ['schema', 'database', 'prefix'] as const
  it.each(strategies)('%s: from registration to purge', { timeout: 60_000 }, async (isolationStrategy) => {
    const app = await appWith({ isolationStrategy })
    const [a, b] = [`${isolationStrategy}-a`, `${isolationStrategy}-b`]
    const made = [
      await app.tenancy.register({ identifier: a, metadata: { plan: 'pro' } }),
      await app.tenancy.ensure({ identifier: b }),
    ]
    if (isolationStrategy === 'database') namespaces.push(...made.map(({ placement }) => placement.namespace))
    await app.inject({ method: 'POST', url: `/notes/of-${a}`, headers: as(a) })
    expect(await notesOf(app, a)).toEqual([`of-${a}`])
    expect(await notesOf(app, b)).toEqual([])

    const reached = await app.inject({ url: '/registry', headers: as(b) })
    expect(reached.statusCode).toBe(500)
    expect(reached.body).not.toContain('pro')
    await app.tenancy.suspend(b)
    expect((await app.inject({ url: '/notes', headers: as(b) })).statusCode).toBe(403)
    await app.close()

    const later = await appWith({ isolationStrategy })
    expect(await later.tenancy.get(b)).toMatchObject({ status: 'suspended' })
    expect(await notesOf(later, a)).toEqual([`of-${a}`])
    await later.tenancy.delete(a)
    expect((await later.tenancy.purge(a)).objects).toBeGreaterThan(0)
  })

  it('a tenant that another process suspends is refused within a second', async () => {
    const [app, other] = [await appWith({}), await appWith({})]
    await app.tenancy.register({ identifier: 'acme' })
    expect(await notesOf(other, 'acme')).toEqual([])
    await app.tenancy.suspend('acme')
    const end = performance.now() + 1000
    let status = 0
    while (status !== 403 && performance.now() < end) {
      status = (await other.inject({ url: '/notes', headers: as('acme') })).statusCode
    }
    expect(status).toBe(403)
  })

  it('has ten tenants registered at once, of which the limit takes four', async () => {
    const app = await appWith({ isolationStrategy: 'prefix' })
    await app.ready()
    const before = (await app.tenancy.list({ limit: 1000 })).tenants.filter(({ status }) => status !== 'purged').length
    await app.close()
    const limited = await appWith({ isolationStrategy: 'prefix', maxTenants: before + 4 })
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, (_, n) => limited.tenancy.register({ identifier: `many-${n}` })),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(4)
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'TENANCY_ERR_TENANT_LIMIT' })
    }
  })

  it('warns at boot when the serving login reaches the registry', async () => {
    const warnings: string[] = []
    const app = await appWith({}, warnings)
    await app.ready()
    expect(warnings.join()).not.toContain('registry')
    await app.close()
    await asSuper(database.superUrl, [`grant select on [tenancy].[tenants] to [${database.servingLogin}]`])
    onTestFinished(
      async () =>
        void (await asSuper(database.superUrl, [
          `revoke select on [tenancy].[tenants] from [${database.servingLogin}]`,
        ])),
    )
    await (await appWith({}, warnings)).ready()
    expect(warnings.join()).toContain('where the registry of tenants is')
  })
})
