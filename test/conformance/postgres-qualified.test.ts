import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Migration } from '../../src/contracts/migrator.ts'
import { withStartupPath } from '../../src/dialects/postgres/drivers/pg-startup-path.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startPgBouncer } from '../servers/pgbouncer.ts'
import { describeWith } from '../servers/suite.ts'
import {
  asSuperuser,
  baselineDatabase,
  newScope,
  open,
  runRolesScript,
  schemaScope,
  sharedSchemas,
  testServer,
} from '../support/database.ts'

const qualified = { ...sharedSchemas, schemaScoping: 'qualified' as const }
const UNMET = { code: 'TENANCY_ERR_RIGHTS_UNMET' }

const notes = pgTable('notes', { id: integer('id').notNull(), body: text('body').notNull() })

/** A table with a trigger and a check, and functions, whose bodies name what they use without a schema. */
const statements = [
  'CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL)',
  'CREATE TABLE audit (note_id int)',
  'CREATE FUNCTION audits() RETURNS trigger LANGUAGE plpgsql AS $$ begin insert into audit values (new.id); return new; end $$',
  'CREATE TRIGGER audits AFTER INSERT ON notes FOR EACH ROW EXECUTE FUNCTION audits()',
  'CREATE FUNCTION audited(at_least int DEFAULT 0) RETURNS bigint LANGUAGE sql AS $$ select count(*) from audit where note_id >= at_least $$',
  'CREATE FUNCTION "Odd Name"(ids int[]) RETURNS bigint LANGUAGE sql SET search_path FROM CURRENT AS $$ select count(*) from audit $$',
  'CREATE PROCEDURE adds(new_id int) LANGUAGE plpgsql AS $$ begin insert into notes values (new_id, $b$added$b$); end $$',
]
const migrations: Migration[] = [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements }]

describeWith(
  ['postgres15', 'postgres18', 'pgbouncer15'],
  'schemaScoping: qualified',
  ({ postgres15, postgres18, pgbouncer15 }) => {
    let database: TestDatabase
    const opened: DatabaseServer[] = []
    const openServer = async (options: Parameters<typeof testServer>[1] = {}, of = database) => {
      const server = testServer(of, { poolSize: 1, shared: qualified, ...options })
      opened.push(server)
      expect(await server.open()).toEqual([])
      return server
    }
    const dbOf = (server: DatabaseServer, scope = schemaScope()) =>
      drizzle({ client: server.client(scope, open) as never })

    beforeAll(async () => {
      database = await baselineDatabase(postgres18.url, { qualified: true })
      adoptTables({ notes })
    })
    afterEach(async () => {
      for (const server of opened.splice(0)) await server.close().catch(() => {})
    })
    afterAll(() => database?.drop())

    it('names are the tenant’s because they are written out, and plain ones in bodies because each routine is pinned', async () => {
      const server = await openServer()
      for (const scope of [schemaScope(), schemaScope()]) {
        for (let run = 0; run < 2; run++) await migrateNamespace({ server, scope, migrations })
        const db = dbOf(server, scope)
        const own = (name: string) => sql.raw(`"${scope.namespace}".${name}`)
        await db.insert(notes).values({ id: 1, body: 'x' })
        await db.execute(sql`call ${own('adds(2)')}`)
        expect(await db.select().from(notes)).toEqual([
          { id: 1, body: 'x' },
          { id: 2, body: 'added' },
        ])
        const { rows } = await db.execute(
          sql`select ${own('audited()')} as all, ${own('audited(2)')} as some, ${own('"Odd Name"')}('{}') as odd`,
        )
        expect(rows).toEqual([{ all: '2', some: '1', odd: '2' }])
      }
    })

    it('a routine that was made by hand is pinned by the next migration run', async () => {
      const before = testServer(database, { poolSize: 1 })
      opened.push(before)
      await before.open()
      const scope = schemaScope()
      await migrateNamespace({ server: before, scope, migrations })
      await asSuperuser(database, async (client) => {
        await client.query(`do $$ declare r regprocedure; begin
          for r in select oid from pg_proc where pronamespace = '${scope.namespace}'::regnamespace loop
            execute format('alter routine %s reset search_path', r);
          end loop; end $$`)
      })
      const server = await openServer()
      const db = dbOf(server, scope)
      await expect(db.insert(notes).values({ id: 1, body: 'x' }).execute()).rejects.toMatchObject(causedBy('42P01'))
      await migrateNamespace({ server, scope, migrations })
      await db.insert(notes).values({ id: 1, body: 'x' })
    })

    it('a tenant is found to be kept apart', async () => {
      const server = await openServer()
      const scope = schemaScope()
      await migrateNamespace({ server, scope, migrations })
      expect((await server.verify(scope)).checks.filter(({ ok }) => !ok)).toEqual([])
    })

    it('what has settings to send still sends them, and is refused', async () => {
      const server = await openServer()
      const scope = newScope()
      await migrateNamespace({ server, scope, migrations })
      await expect(dbOf(server, scope).select().from(notes).execute()).rejects.toMatchObject(causedBy('42501'))
    })

    it('keeps the options that the URL or PGOPTIONS give', async () => {
      const settings = sql`select current_setting('statement_timeout') as timeout, current_setting('search_path') as path`
      const expected = [{ timeout: '12345ms', path: 'extensions,pg_temp' }]
      const options = '-c statement_timeout=12345'
      const url = `${database.appUrl}?application_name=x&options=${encodeURIComponent(options)}`
      expect((await dbOf(await openServer({ url })).execute(settings)).rows).toEqual(expected)
      process.env['PGOPTIONS'] = options
      try {
        expect((await dbOf(await openServer()).execute(settings)).rows).toEqual(expected)
      } finally {
        delete process.env['PGOPTIONS']
      }
      expect(withStartupPath('postgres://a:b%2Fc@h/d', ['x', 'pg_temp'])).toBe(
        'postgres://a:b%2Fc@h/d?options=-c%20search_path%3Dx%2Cpg_temp',
      )
      // Of a socket, which the URL class does not read; and of several options pg takes the last.
      expect(withStartupPath('postgres://a:b@/d?host=/tmp&options=-c%20x%3D1&options=-c%20x%3D2', ['x'])).toBe(
        'postgres://a:b@/d?host=/tmp&options=-c%20x%3D1&options=-c%20x%3D2&options=-c%20x%3D2%20-c%20search_path%3Dx',
      )
    })

    it('a name that somebody hopes to slip in another path with is not one', async () => {
      const url = `${database.appUrl}?options=${encodeURIComponent('-c search_path=public')}`
      expect((await dbOf(await openServer({ url })).execute(sql`show search_path`)).rows).toEqual([
        { search_path: 'extensions,pg_temp' },
      ])
    })

    describe('the start refuses', () => {
      it.each<[string, (names: TestDatabase) => string]>([
        ['set_config', ({ appRole }) => `grant execute on function set_config(text, text, boolean) to ${appRole}`],
        ['set_config of everybody', () => 'grant execute on function set_config(text, text, boolean) to public'],
        ['blocks', ({ appRole }) => `grant usage on language plpgsql to ${appRole}`],
        ['temporary objects', ({ appRole, database: name }) => `grant temporary on database ${name} to ${appRole}`],
        ['schemas', ({ appRole, database: name }) => `grant create on database ${name} to ${appRole}`],
        ['objects in a schema', ({ appRole }) => `grant create on schema extensions to ${appRole}`],
        ['anything, as a superuser', ({ appRole }) => `alter role ${appRole} superuser`],
      ])('a serving role that may make or change too much: %s', async (_what, weaken) => {
        const own = await baselineDatabase(postgres15.url, { qualified: true })
        await asSuperuser(own, (client) => client.query(weaken(own)))
        await expect(testServer(own, { shared: qualified }).open()).rejects.toMatchObject(UNMET)
        await own.drop()
      })

      it('a database whose script ran without --qualified; with it, it starts', async () => {
        const own = await baselineDatabase(postgres15.url)
        await expect(testServer(own, { shared: qualified }).open()).rejects.toMatchObject({
          ...UNMET,
          message: expect.stringMatching(/schemaScoping.*set_config.*DO blocks in plpgsql.*--qualified/) as string,
        })
        await runRolesScript(own, { tenantRoles: true })
        await expect(testServer(own, { shared: qualified }).open()).rejects.toMatchObject(UNMET)
        await runRolesScript(own, { qualified: true })
        await (await openServer({}, own)).close()
        await own.drop()
      })

      it('a pooler: one that takes no options, and one that swallows them', async () => {
        const own = await baselineDatabase(postgres15.url, { qualified: true })
        const through = (port: number) => testServer(own, { url: withPort(own.appUrl, port), shared: qualified }).open()
        await expect(through(pgbouncer15.port)).rejects.toMatchObject({ code: 'TENANCY_ERR_DATABASE_UNAVAILABLE' })
        const swallowing = await startPgBouncer({
          postgresPort: postgres15.port,
          poolSize: 2,
          settings: { ignore_startup_parameters: 'extra_float_digits,options' },
        })
        await expect(through(swallowing.port)).rejects.toMatchObject({
          ...UNMET,
          message: expect.stringContaining('connect without a pooler') as string,
        })
        await swallowing.stop()
        await own.drop()
      })
    })
  },
)

function causedBy(code: string) {
  return { cause: { code } }
}
