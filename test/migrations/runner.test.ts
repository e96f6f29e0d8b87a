import { fileURLToPath } from 'node:url'
import { Pool } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Migration } from '../../src/contracts/migrator.ts'
import { rewriteDdl } from '../../src/dialects/postgres/rewrite-ddl.ts'
import { tenancyError } from '../../src/errors.ts'
import { readMigrations } from '../../src/migrations/reader.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { createTestDatabase, type TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'

type Server = Pick<DatabaseServer, 'inNamespace' | 'parseDdl'>

const fixtures = fileURLToPath(new URL('../fixtures/migrations', import.meta.url))

const scopeOf = (namespace: string): Scope => ({
  tenantId: namespace,
  server: 'main',
  namespace,
  strategy: 'schema',
  settings: {},
})

const migrationOf = (name: string, ...statements: readonly string[]): Migration => ({
  name,
  file: `drizzle/${name}.sql`,
  hash: `hash of ${name}`,
  createdAt: 1,
  statements,
})

const parseDdl: Server['parseDdl'] = (statement) => {
  const text = rewriteDdl(statement)
  return { render: () => text }
}

/** The least that keeps the contract of `inNamespace` on a real PostgreSQL. */
function openServer(pool: Pool): Server {
  return {
    parseDdl,
    async inNamespace({ namespace }, work) {
      const client = await pool.connect()
      try {
        await client.query('begin')
        await client.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [namespace])
        await client.query(`set local search_path to ${namespace}, pg_temp`)
        const result = await work({
          transactional: true,
          async ensure() {
            const found = await client.query('select 1 from pg_namespace where nspname = $1', [namespace])
            if (found.rowCount === 1) return false
            await client.query(`create schema ${namespace}`)
            await client.query(`create table ${namespace}.__ledger (hash text primary key, name text)`)
            return true
          },
          async applied() {
            const { rows } = await client.query<{ hash: string; name: string }>(`select * from ${namespace}.__ledger`)
            return rows.map((row) => ({ ...row, createdAt: null }))
          },
          async run(statement) {
            await client.query(statement)
          },
          async record({ hash, name }) {
            await client.query(`insert into ${namespace}.__ledger values ($1, $2)`, [hash, name])
          },
          async seal() {},
        })
        await client.query('commit')
        return result
      } catch (error) {
        await client.query('rollback')
        throw error
      } finally {
        client.release()
      }
    },
  }
}

describe.each(['postgres15', 'postgres18'] as const)('on %s', (name) => {
  describeWith([name], 'migrateNamespace', (servers) => {
    let database: TestDatabase
    let pool: Pool
    let server: Server
    let count = 0
    let namespace: string

    beforeAll(async () => {
      database = await createTestDatabase(servers[name].url)
      pool = new Pool({ connectionString: database.adminUrl, max: 6 })
      server = openServer(pool)
    })

    beforeEach(() => {
      namespace = `t${++count}x`
    })

    afterAll(async () => {
      await pool?.end()
      await database?.drop()
    })

    const column = async (text: string, ...values: readonly unknown[]) =>
      (await pool.query({ text, values: [...values], rowMode: 'array' })).rows.map(([value]) => value as unknown)

    /** Every relation, type and function of a schema, by name. */
    const objectsOf = (schema: string) =>
      column(
        `select relkind::text || ' ' || relname from pg_class where relnamespace = to_regnamespace($1) and relkind <> 't'
         union all select 'enum ' || typname from pg_type where typnamespace = to_regnamespace($1) and typtype = 'e'
         order by 1`,
        schema,
      )

    /** Every way in which an object of the schema leans on an object of another schema but the system's own. */
    const strangersOf = (schema: string) =>
      column(
        `select c.conname || ' → ' || c.confrelid::regclass from pg_constraint c join pg_class t on t.oid = c.confrelid
          where c.connamespace = to_regnamespace($1) and t.relnamespace <> to_regnamespace($1)
         union all
         select a.attrelid::regclass || '.' || a.attname || ' → ' || a.atttypid::regtype
           from pg_attribute a join pg_class t on t.oid = a.attrelid join pg_type y on y.oid = a.atttypid
          where t.relnamespace = to_regnamespace($1)
            and y.typnamespace not in (to_regnamespace($1), 'pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
         union all
         select r.ev_class::regclass || ' → ' || d.refobjid::regclass
           from pg_rewrite r join pg_class v on v.oid = r.ev_class
           join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
           join pg_class t on t.oid = d.refobjid
          where v.relnamespace = to_regnamespace($1) and t.relnamespace <> to_regnamespace($1)`,
        schema,
      )

    describe.each(['kit-0.31', 'kit-1.0'])('%s', (kit) => {
      let migrations: readonly Migration[]

      beforeAll(async () => {
        migrations = await readMigrations(`${fixtures}/${kit}`)
        await pool.query('drop schema public cascade; create schema public')
        // What a slip of the rewriter would find: the same names, with rows.
        for (const statement of migrations.flatMap(({ statements }) => statements)) await pool.query(statement)
        await pool.query(`insert into public.customers (email, name) values ('public@x', 'public')`)
        await pool.query(`insert into public.orders (customer_id) values (1)`)
      })

      test('[W1] everything lands in the schema of its tenant, whatever public holds', async () => {
        const other = `${namespace}b`
        const inPublic = await objectsOf('public')
        for (const schema of [namespace, other]) {
          const report = await migrateNamespace({ server, scope: scopeOf(schema), migrations })
          expect(report).toEqual({ created: true, applied: migrations.map((migration) => migration.name), skipped: 0 })
        }
        for (const schema of [namespace, other]) {
          const own = (await objectsOf(schema)).filter((object) => !String(object).includes('__ledger'))
          expect(own).toEqual(inPublic)
          expect(await strangersOf(schema)).toEqual([])
        }
        await pool.query(`insert into ${namespace}.customers (email, name) values ('a@x', 'a')`)
        await pool.query(`insert into ${namespace}.orders (customer_id) values (1)`)
        expect(await column(`select id from ${namespace}.open_orders`)).toEqual([1])
        expect(await column(`select id from ${other}.open_orders`)).toEqual([])
        await expect(pool.query(`insert into ${other}.orders (customer_id) values (1)`)).rejects.toThrow('foreign key')
        expect(await objectsOf('public')).toEqual(inPublic)
      })

      test('[W1] control: without the rewriter the same check finds the strangers of kit 0.31', async () => {
        const broken: Server = { ...server, parseDdl: (statement) => ({ render: () => statement }) }
        const run = migrateNamespace({ server: broken, scope: scopeOf(namespace), migrations })
        if (kit === 'kit-1.0') {
          await run
          expect(await strangersOf(namespace)).toEqual([])
        } else {
          // CREATE TYPE "public"."order_status" finds its name taken; past it, the foreign key points at public.
          await expect(run).rejects.toMatchObject({ code: 'TENANCY_ERR_MIGRATION_FAILED' })
          const tables = migrations.map((migration) => ({
            ...migration,
            statements: migration.statements.filter(
              (statement) => !/"public"\."(?:order_status|open_orders)"/.test(statement),
            ),
          }))
          const inTenant = [migrationOf('type', `create type order_status as enum ('open')`), ...tables]
          await migrateNamespace({ server: broken, scope: scopeOf(namespace), migrations: inTenant })
          expect(await strangersOf(namespace)).toContain('orders_customer_id_customers_id_fk → customers')
        }
      })

      test('a second run skips everything, and a migration merged late is still applied', async () => {
        const scope = scopeOf(namespace)
        await migrateNamespace({ server, scope, migrations })
        expect(await migrateNamespace({ server, scope, migrations })).toEqual({
          created: false,
          applied: [],
          skipped: 2,
        })
        const late = [migrationOf('late', 'create table late (a int)'), ...migrations]
        expect(await migrateNamespace({ server, scope, migrations: late })).toEqual({
          created: false,
          applied: ['late'],
          skipped: 2,
        })
        expect(await objectsOf(namespace)).toContain('r late')
      })

      test('[W21] racing runs apply every migration once, and all tenants of a fleet get all of them', async () => {
        const namespaces = Array.from({ length: 12 }, (_, index) => `${namespace}${index % 6}`)
        const reports = await Promise.all(
          namespaces.map((schema) => migrateNamespace({ server, scope: scopeOf(schema), migrations })),
        )
        expect(reports.filter(({ created }) => created)).toHaveLength(6)
        expect(reports.flatMap(({ applied }) => applied)).toHaveLength(12)
        for (const schema of new Set(namespaces)) {
          expect(await column(`select name from ${schema}.__ledger order by 1`)).toHaveLength(2)
          expect(await objectsOf(schema)).toContain('r order_lines')
        }
      })
    })

    test('[W3] a failing third statement leaves nothing of a new namespace and names file and statement', async () => {
      const migrations = [
        migrationOf('one', 'create table a (id int)'),
        migrationOf('two', 'create table b (id int)', 'create table c (id int)', 'create table a (id int)'),
      ]
      const run = migrateNamespace({ server, scope: scopeOf(namespace), migrations })
      await expect(run).rejects.toMatchObject({
        code: 'TENANCY_ERR_MIGRATION_FAILED',
        message: 'Migration drizzle/two.sql failed at statement 3: relation "a" already exists',
        cause: { code: '42P07' },
      })
      expect(await column('select nspname from pg_namespace where nspname = $1', namespace)).toEqual([])
    })

    test('[W3] a failing run leaves an existing namespace, its rows and its ledger as they were', async () => {
      const one = migrationOf('one', 'create table a (id int)')
      const scope = scopeOf(namespace)
      await migrateNamespace({ server, scope, migrations: [one] })
      await pool.query(`insert into ${namespace}.a values (7)`)
      const bad = migrationOf('bad', 'alter table a add b int', 'drop table a', 'select 1/0')
      await expect(migrateNamespace({ server, scope, migrations: [one, bad] })).rejects.toThrow('division by zero')
      expect(await column(`select to_jsonb(a) from ${namespace}.a a`)).toEqual([{ id: 7 }])
      expect(await column(`select name from ${namespace}.__ledger`)).toEqual(['one'])
    })

    test('a refusal names file and statement, before anything runs', async () => {
      const migrations = [
        migrationOf('one', 'create table a (id int)'),
        migrationOf('two', 'create table b (id int)', 'create table other.b (id int)'),
      ]
      await expect(migrateNamespace({ server, scope: scopeOf(namespace), migrations })).rejects.toMatchObject({
        code: 'TENANCY_ERR_MIGRATION_REFUSED',
        message: expect.stringMatching(
          /^Migration drizzle\/two\.sql was refused at statement 2: other\.b names the schema/,
        ),
      })
      expect(await column('select nspname from pg_namespace where nspname = $1', namespace)).toEqual([])
    })

    test('[W23] the namespace that is migrated is the one the scope serves from', async () => {
      const scope = scopeOf(namespace)
      await migrateNamespace({ server, scope, migrations: [migrationOf('one', 'create table here (id int)')] })
      const client = await pool.connect()
      await client.query('begin')
      await client.query(`set local search_path to ${scope.namespace}, pg_temp`)
      const { rows } = await client.query<{ name: string }>(
        `select n.nspname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = 'here'::regclass`,
      )
      await client.query('rollback')
      client.release()
      expect(rows).toEqual([{ name: namespace }])
    })

    test('statements are rewritten once for all tenants', async () => {
      let calls = 0
      const counting: Server = { ...server, parseDdl: (statement) => (calls++, parseDdl(statement)) }
      const migrations = [migrationOf('one', 'create table a (id int)', '-- nothing', 'create table b (id int)')]
      for (const schema of [namespace, `${namespace}b`]) {
        await migrateNamespace({ server: counting, scope: scopeOf(schema), migrations })
      }
      expect(calls).toBe(3)
    })

    test('several statements in one piece, and a function body, run', async () => {
      const body = `create function public.twice(n int) returns int language plpgsql as $$
        declare r public.a%rowtype;
        begin select * into r from public.a where a.id = n; return r.id * 2; end $$`
      const migrations = [migrationOf('one', 'create table public.a (id int); insert into a values (2)', body)]
      await migrateNamespace({ server, scope: scopeOf(namespace), migrations })
      const client = await pool.connect()
      await client.query(`begin; set local search_path to ${namespace}`)
      const { rows } = await client.query('select twice(2) as n')
      await client.query('rollback')
      client.release()
      expect(rows).toEqual([{ n: 4 }])
    })

    test('a new enum value can be used by the next run, in the run that adds it only where PostgreSQL allows it', async () => {
      const made = migrationOf('made', `create type s as enum ('a')`, 'create table t (v s)')
      const added = migrationOf('added', `alter type s add value 'b'`)
      const used = migrationOf('used', `alter table t alter v set default 'b'`)
      const migrate = (schema: string, ...migrations: readonly Migration[]) =>
        migrateNamespace({ server, scope: scopeOf(schema), migrations })

      await migrate(namespace, made)
      await migrate(namespace, made, added)
      await expect(migrate(namespace, made, added, used)).resolves.toMatchObject({ applied: ['used'] })

      const fresh = migrate(`${namespace}fresh`, made, added, used)
      // Of a type made in the same transaction, PostgreSQL 17 and newer lets it be used at once.
      if (name === 'postgres18') await expect(fresh).resolves.toMatchObject({ created: true })
      else await expect(fresh).rejects.toMatchObject({ cause: { code: '55P04' } })
    })

    test("a tenant's values stay out of the message", async () => {
      const one = migrationOf(
        'one',
        `create table a (v text, u text); insert into a values (E'secret\\nline', 'x'), ('s', 'x')`,
      )
      const scope = scopeOf(namespace)
      await migrateNamespace({ server, scope, migrations: [one] })
      const messageOf = async (statement: string) => {
        const run = migrateNamespace({ server, scope, migrations: [one, migrationOf('bad', statement)] })
        return run.then(
          () => '',
          (error: Error) => error.message,
        )
      }
      expect(await messageOf('alter table a alter v type int using v::int')).toBe(
        'Migration drizzle/bad.sql failed at statement 1: invalid input syntax for type integer: "…"',
      )
      expect(await messageOf('create unique index a_u on a (u)')).toBe(
        'Migration drizzle/bad.sql failed at statement 1: could not create unique index "a_u"',
      )
    })

    test('errors that have a code already, and bugs of a rewriter, pass through untouched', async () => {
      const down = tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
      const failing: Server = {
        ...server,
        inNamespace: (scope, work) =>
          server.inNamespace(scope, (session) => work({ ...session, run: () => Promise.reject(down) })),
      }
      const migrations = [migrationOf('one', 'create table a (id int)')]
      await expect(migrateNamespace({ server: failing, scope: scopeOf(namespace), migrations })).rejects.toBe(down)
      const bug = new TypeError('bug')
      const buggy: Server = {
        ...server,
        parseDdl() {
          throw bug
        },
      }
      await expect(migrateNamespace({ server: buggy, scope: scopeOf(namespace), migrations })).rejects.toBe(bug)
    })
  })
})
