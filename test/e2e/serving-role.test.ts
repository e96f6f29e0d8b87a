import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drizzle as mysqlDrizzle } from 'drizzle-orm/mysql2'
import { int, mysqlTable, varchar } from 'drizzle-orm/mysql-core'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import { pgTable, serial, text } from 'drizzle-orm/pg-core'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { rolesScript } from '../../src/dialects/postgres/roles-script.ts'
import tenancy, { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { as } from '../support/app.ts'
import { asSuperuser } from '../support/database.ts'
import { asRoot, mysqlDatabase } from '../support/mysql.ts'
import { databaseHost } from '../support/tenant-databases.ts'

const folder = mkdtempSync(join(tmpdir(), 'tenancy-role-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A drizzle-kit folder of one migration. */
function migrationsOf(name: string, statement: string): string {
  const made = mkdtempSync(join(folder, `${name}-`))
  mkdirSync(join(made, 'meta'))
  writeFileSync(join(made, 'meta/_journal.json'), JSON.stringify({ entries: [{ tag: '0000_notes', when: 1 }] }))
  writeFileSync(join(made, '0000_notes.sql'), statement)
  return made
}

type Db = NodePgDatabase

interface Served {
  readonly notes: object
  readonly options: TenancyOptions
}

async function appOf({ notes, options }: Served): Promise<FastifyInstance> {
  const app = Fastify({ pluginTimeout: 60_000 }) as unknown as FastifyInstance
  onTestFinished(() => app.close())
  await app.register(tenancy, { schema: { notes }, ...options })
  const table = notes as typeof plain
  const db = () => getTenantDb() as Db
  app.get('/notes', async () => (await db().select().from(table)).map(({ body }) => body))
  app.post('/notes/:body', async (request) => {
    await db()
      .insert(table)
      .values({ body: (request.params as { body: string }).body })
    return 'added'
  })
  return app
}

const plain = pgTable('notes', { id: serial('id').primaryKey(), body: text('body').notNull() })
const notesOf = (app: FastifyInstance, tenant: string) => app.inject({ url: '/notes', headers: as(tenant) })
const add = async (app: FastifyInstance, tenant: string, body: string) =>
  (await app.inject({ method: 'POST', url: `/notes/${body}`, headers: as(tenant) })).body

/** What was written under the first role is read and written under the second, after `ensure()`, and by each tenant alone. */
async function takesOver(first: Served, second: Served): Promise<void> {
  const before = await appOf(first)
  for (const name of ['acme', 'globex']) {
    await before.tenancy.register({ identifier: name })
    expect(await add(before, name, `of-${name}`)).toBe('added')
  }
  await before.close()

  const after = await appOf(second)
  await after.ready()
  expect((await notesOf(after, 'acme')).statusCode).toBeGreaterThanOrEqual(500)
  for (const name of ['acme', 'globex']) await after.tenancy.ensure({ identifier: name })
  await after.tenancy.register({ identifier: 'initech' })
  for (const name of ['acme', 'globex']) {
    expect((await notesOf(after, name)).json()).toEqual([`of-${name}`])
    expect(await add(after, name, 'more')).toBe('added')
    expect((await notesOf(after, name)).json()).toEqual([`of-${name}`, 'more'])
    const { checks } = await after.tenancy.verify(name)
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
  }
  expect((await notesOf(after, 'initech')).json()).toEqual([])
  expect(await add(after, 'initech', 'first')).toBe('added')
}

describeWith(['postgres18', 'mariadb'], 'another role serves', ({ postgres18, mariadb }) => {
  it('the script takes nothing from a superuser, whom nothing would confine', async () => {
    const host = await databaseHost(postgres18.url)
    onTestFinished(() => host.drop())
    const isSuperuser = async (text: string) =>
      host.asSuperuserIn(host.database, async (client) => {
        await client.query(`alter role ${host.appRole} superuser`)
        const failed = await client.query(text).catch(String)
        const { rows } = await client.query(`select rolsuper from pg_roles where rolname = '${host.appRole}'`)
        await client.query(`alter role ${host.appRole} nosuperuser`)
        return [failed, rows]
      })
    const { database, appRole: servingRole, ownerRole: adminRole } = host
    expect(await isSuperuser(rolesScript({ database, servingRole, adminRole }))).toEqual([
      expect.stringContaining(`the role ${servingRole} is a superuser`),
      [{ rolsuper: true }],
    ])
  })

  const cells = [
    ['schema', 'the admin role'],
    ['schema', 'a serving role'],
    ['rls', 'a serving role'],
    ['prefix', 'a serving role'],
    ['database', 'a serving role'],
  ] as const
  it.each(cells)(
    '%s, where it was %s',
    async (isolationStrategy, former) => {
      const host = await databaseHost(postgres18.url)
      const next = `next_${host.appRole}`
      const rights = { servingRole: next, adminRole: host.ownerRole, tenantDatabases: true }
      onTestFinished(async () => {
        await host.drop()
        await asSuperuser({ ...host, superUrl: postgres18.url }, (client) => client.query(`drop role ${next}`))
      })
      await asSuperuser(host, async (client) => {
        await client.query(`create role ${next} login`)
        await client.query(rolesScript({ ...rights, database: host.database }))
      })
      await host.asSuperuserIn(host.template, (client) =>
        client.query(rolesScript({ ...rights, database: host.template })),
      )
      const tenantColumn = isolationStrategy === 'rls' ? '"tenant_id" uuid not null, ' : ''
      const options: TenancyOptions = {
        adminDatabaseUrl: host.adminUrl,
        isolationStrategy,
        databaseTemplate: host.template,
        migrations: migrationsOf(
          isolationStrategy,
          `CREATE TABLE "notes" (${tenantColumn}"id" serial NOT NULL, "body" text NOT NULL);`,
        ),
        drizzle: (client) => drizzle({ client }),
      }
      const nextUrl = new URL(host.appUrl)
      nextUrl.username = next
      await takesOver(
        {
          notes: plain,
          options: { ...options, databaseUrl: former === 'the admin role' ? host.adminUrl : host.appUrl },
        },
        { notes: plain, options: { ...options, databaseUrl: nextUrl.href } },
      )
    },
    120_000,
  )

  describe('on MariaDB', () => {
    const notes = mysqlTable('notes', {
      id: int('id').primaryKey().autoincrement(),
      body: varchar('body', { length: 200 }).notNull(),
    })
    it.each(['schema', 'prefix'] as const)(
      '%s',
      async (isolationStrategy) => {
        const database = await mysqlDatabase(mariadb.url)
        const registrySchema = database.database.replace('shared', 'tenancy')
        onTestFinished(async () => {
          await asRoot(database.superUrl, [
            `drop database if exists ${registrySchema}`,
            `drop user next_${database.servingUser}@'%'`,
          ])
          await database.drop()
        })
        await asRoot(database.superUrl, [`create user next_${database.servingUser}@'%' identified by 'p@ss:/?#%'`])
        const nextUrl = new URL(database.url)
        nextUrl.username = `next_${database.servingUser}`
        const options: TenancyOptions = {
          adminDatabaseUrl: database.adminUrl,
          registrySchema,
          isolationStrategy,
          migrations: migrationsOf(
            'mysql',
            'CREATE TABLE `notes` (`id` int AUTO_INCREMENT NOT NULL, `body` varchar(200) NOT NULL, CONSTRAINT `notes_id` PRIMARY KEY(`id`));',
          ),
          drizzle: (client) => mysqlDrizzle({ client }),
        }
        await takesOver(
          { notes, options: { ...options, databaseUrl: database.url } },
          { notes, options: { ...options, databaseUrl: nextUrl.href } },
        )
      },
      120_000,
    )
  })
})
