import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { int, mysqlTable, varchar } from 'drizzle-orm/mysql-core'
import { drizzle, type MySql2Database } from 'drizzle-orm/mysql2'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import tenancy, { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase } from '../support/mysql.ts'

const notes = mysqlTable('notes', {
  id: int('id').primaryKey().autoincrement(),
  body: varchar('body', { length: 200 }).notNull(),
})
const MIGRATION =
  'CREATE TABLE `notes` (`id` int AUTO_INCREMENT NOT NULL, `body` varchar(200) NOT NULL, CONSTRAINT `notes_id` PRIMARY KEY(`id`));'

describeWith(['mariadb'], 'MariaDB in an app, the registry too', ({ mariadb }) => {
  let database: MysqlDatabase
  let registrySchema: string
  const migrations = mkdtempSync(join(tmpdir(), 'tenancy-mysql-'))

  beforeAll(async () => {
    database = await mysqlDatabase(mariadb.url)
    registrySchema = database.database.replace('shared', 'tenancy')
    mkdirSync(join(migrations, 'meta'))
    writeFileSync(join(migrations, 'meta/_journal.json'), '{"entries":[{"tag":"0000_notes","when":1}]}')
    writeFileSync(join(migrations, '0000_notes.sql'), MIGRATION)
  })
  afterAll(async () => {
    await asRoot(database.superUrl, [`drop database if exists ${registrySchema}`])
    await database.drop()
    rmSync(migrations, { recursive: true, force: true })
  })

  const db = () => getTenantDb() as MySql2Database
  const appWith = async (options: TenancyOptions, warnings: string[] = []): Promise<FastifyInstance> => {
    const stream = { write: (line: string) => void warnings.push((JSON.parse(line) as { msg: string }).msg) }
    const app = Fastify({ logger: { level: 'warn', stream } }) as unknown as FastifyInstance
    onTestFinished(() => app.close())
    await app.register(tenancy, {
      databaseUrl: database.url,
      adminDatabaseUrl: database.adminUrl,
      registrySchema,
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
      return db().$count(notes)
    })
    app.get('/registry', async () => db().execute(sql.raw(`select * from ${registrySchema}.tenants`)))
    return app
  }
  const notesOf = async (app: FastifyInstance, tenant: string) =>
    (await app.inject({ url: '/notes', headers: as(tenant) })).json<string[]>()

  it.each(['schema', 'database', 'prefix'] as const)('%s: from registration to purge', async (isolationStrategy) => {
    const app = await appWith({ isolationStrategy })
    const [a, b] = [`${isolationStrategy}-a`, `${isolationStrategy}-b`]
    await app.tenancy.register({ identifier: a, metadata: { plan: 'pro' } })
    await app.tenancy.ensure({ identifier: b })
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

  it('warns at boot when the serving account reaches the registry', async () => {
    const warnings: string[] = []
    const app = await appWith({}, warnings)
    await app.ready()
    expect(warnings.join()).not.toContain('registry')
    await app.close()
    await asRoot(database.superUrl, [`grant select on ${registrySchema}.* to ${database.servingUser}@'%'`])
    onTestFinished(
      async () =>
        void (await asRoot(database.superUrl, [
          `revoke select on ${registrySchema}.* from ${database.servingUser}@'%'`,
        ])),
    )
    await (await appWith({}, warnings)).ready()
    expect(warnings.join()).toContain('where the registry of tenants is')
  })
})
