import { setTimeout as sleep } from 'node:timers/promises'
import { and, eq, gt, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { alias, integer, pgTable, serial, text, union } from 'drizzle-orm/pg-core'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { connectionScope, scopedQueries, silentScope } from '../../src/dialects/postgres/drivers/pg-scoped-query.ts'
import { openTenantDatabases } from '../../src/dialects/postgres/drivers/pg-tenant-databases.ts'
import { tenantPool } from '../../src/dialects/postgres/drivers/pg-tenant-pool.ts'
import type { PgModule } from '../../src/dialects/postgres/drivers/pg-types.ts'
import { tenancyError } from '../../src/errors.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { withPort } from '../servers/database.ts'
import { startPgBouncer } from '../servers/pgbouncer.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope, provisionScope, testServer } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'
import { databaseHost, type DatabaseHost } from '../support/tenant-databases.ts'

const items = pgTable('items', {
  id: serial('id').primaryKey(),
  owner: text('owner').notNull(),
  n: integer('n').notNull().default(0),
})

const ddl = (owner: string) => [
  `create table items (id serial primary key, owner text not null default '${owner}', n integer not null default 0)`,
  `create view big_items as select * from items where n > 10`,
  `insert into items (owner) values ('${owner}')`,
]

for (const version of ['15', '18'] as const) {
  describeWith(
    [`postgres${version}`, `pgbouncer${version}`],
    `a database per tenant on PostgreSQL ${version}`,
    (servers) => {
      let host: DatabaseHost
      let server: DatabaseServer
      let a: Scope
      let b: Scope

      const newScope = () => placedScope(namespaceStrategy('database'))
      const dbOf = (scope: Scope, on = server, guard = open) => {
        const client = on.client(scope, guard) as unknown as pg.Pool
        return Object.assign(drizzle({ client, schema: { items } }), { client })
      }
      const databases = async () =>
        (await server.admin.query<{ name: string }>('select datname::text as name from pg_database')).map(
          ({ name }) => name,
        )

      beforeAll(async () => {
        host = await databaseHost(servers[`postgres${version}`]?.url ?? '')
        server = testServer(host, { strategies: ['database'], databaseTemplate: host.template })
        expect(await server.open()).toEqual([])
        a = await provisionScope(server, ddl('a'), newScope())
        b = await provisionScope(server, ddl('b'), newScope())
      })
      afterAll(async () => {
        await server?.close()
        await host?.drop()
      })

      it('[W25] makes a database for each tenant, with the admin rights alone', async () => {
        expect(server.capabilities.database).toBe('database')
        expect(await databases()).toEqual(expect.arrayContaining([a.namespace, b.namespace]))
        const [made] = await server.admin.query(
          `select pg_get_userbyid(datdba)::text as owner, shobj_description(oid, 'pg_database') as mark, datallowconn as open
         from pg_database where datname = $1`,
          [a.namespace],
        )
        expect(made).toEqual({ owner: host.ownerRole, mark: `fastify-tenancy tenant ${a.tenantId}`, open: true })
        const [where] = (
          await dbOf(a).execute(
            sql`select current_database() as database, current_schema() as schema, current_user as role`,
          )
        ).rows
        expect(where).toEqual({ database: a.namespace, schema: a.namespace, role: host.appRole })
        expect(await server.admin.query('select 1 from pg_namespace where nspname = $1', [a.namespace])).toEqual([])
      })

      it('runs what Drizzle has: select, insert, update, delete, upsert, joins, CTE, subquery, union, view, count', async () => {
        const db = dbOf(a)
        await db.insert(items).values([
          { owner: 'a', n: 20 },
          { owner: 'a', n: 30 },
        ])
        const other = alias(items, 'other')
        expect(await db.select().from(items).innerJoin(other, eq(items.id, other.id))).toHaveLength(3)
        const big = db.$with('big').as(db.select().from(items).where(gt(items.n, 10)))
        expect(await db.with(big).select().from(big)).toHaveLength(2)
        const sub = db.select({ id: items.id }).from(items).as('sub')
        expect(await db.select().from(sub)).toHaveLength(3)
        expect(await union(db.select({ n: items.n }).from(items), db.select({ n: items.n }).from(items))).toHaveLength(
          3,
        )
        expect((await db.execute(sql`select * from big_items`)).rows).toHaveLength(2)
        expect(await db.$count(items)).toBe(3)
        const [one] = await db.select().from(items).where(eq(items.n, 20))
        await db
          .insert(items)
          .values({ id: one?.id ?? 0, owner: 'a', n: 21 })
          .onConflictDoUpdate({ target: items.id, set: { n: 21 } })
        await db.update(items).set({ n: 31 }).where(eq(items.n, 30))
        const prepared = db
          .select({ n: items.n })
          .from(items)
          .where(and(eq(items.owner, 'a'), gt(items.n, sql.placeholder('n'))))
          .orderBy(items.n)
          .prepare('bigger')
        expect(await prepared.execute({ n: 10 })).toEqual([{ n: 21 }, { n: 31 }])
        expect(await dbOf(b).$count(items)).toBe(1)
        expect((await dbOf(b).execute(sql`select * from big_items`)).rows).toEqual([])
        await db.delete(items).where(gt(items.n, 10))
        expect(await db.$count(items)).toBe(1)
      })

      it('commits, rolls back and nests transactions', async () => {
        const db = dbOf(a)
        await db.transaction(async (tx) => {
          await tx.insert(items).values({ owner: 'tx', n: 1 })
          await tx
            .transaction(async (inner) => {
              await inner.insert(items).values({ owner: 'tx', n: 2 })
              inner.rollback()
            })
            .catch(() => {})
          // Another tenant inside it has a connection of its own, to its own database.
          expect(await dbOf(b).$count(items)).toBe(1)
        })
        expect(await db.$count(items, eq(items.owner, 'tx'))).toBe(1)
        await expect(
          db.transaction(async (tx) => {
            await tx.delete(items)
            throw new Error('no')
          }),
        ).rejects.toThrow('no')
        await db.delete(items).where(eq(items.owner, 'tx'))
        expect(await db.$count(items)).toBe(1)
        const lazy = server.lazyTransaction(a, open)
        const request = drizzle({ client: lazy.client as never, schema: { items } })
        await request.insert(items).values({ owner: 'lazy' })
        expect(await db.$count(items)).toBe(1)
        await request.transaction(async (tx) => tx.insert(items).values({ owner: 'lazy' }))
        await lazy.commit()
        expect(await db.$count(items, eq(items.owner, 'lazy'))).toBe(2)
        await db.delete(items).where(eq(items.owner, 'lazy'))
      })

      it('reads with a cursor, and refuses handles that are finished or released', async () => {
        const client = await dbOf(a).client.connect()
        const cursor = client.query(new Cursor('select owner from items'))
        expect(await cursor.read(10)).toEqual([{ owner: 'a' }])
        await cursor.close()
        client.release()
        expect(await codeOf(() => client.query('select 1'))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
        expect(await codeOf(() => dbOf(a).client.end())).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      })

      it('interleaves tenants, errors and rollbacks on a single connection', async () => {
        const single = testServer(host, { strategies: ['database'], maxTenantConnections: 1 })
        await single.open()
        const [ofA, ofB] = [dbOf(a, single), dbOf(b, single)]
        const owners = async (db: typeof ofA) => (await db.select().from(items)).map(({ owner }) => owner)
        await Promise.all(
          Array.from({ length: 40 }, async (_, i) => {
            const [db, name] = i % 2 === 0 ? ([ofA, 'a'] as const) : ([ofB, 'b'] as const)
            if (i % 5 === 0) expect(await codeOf(() => db.execute(sql`select 1/0`))).toBe('22012')
            if (i % 7 === 0) {
              await db
                .transaction(async (tx) => {
                  await tx.insert(items).values({ owner: 'undone' })
                  tx.rollback()
                })
                .catch(() => {})
            }
            expect(await owners(db)).toEqual([name])
          }),
        )
        expect(single.stats()['tenants']).toMatchObject({ total: 1, waiting: 0 })
        await single.close()
      })

      it('a statement cannot reach the database of another tenant, the main one or another schema', async () => {
        for (const name of [b.namespace, host.database, host.template]) {
          const naming = `select * from "${name}"."${b.namespace}"."items"`
          expect(await codeOf(() => dbOf(a).execute(sql.raw(naming))), naming).toBe('0A000')
        }
        for (const [text, code] of [
          [`select * from "${b.namespace}".items`, '42P01'],
          [`select * from tenancy.tenants`, '42P01'],
          [`create table public.mine (id int)`, '42501'],
          [`create table mine (id int)`, '42501'],
          [`create temporary table items (owner text)`, '42501'],
          [`select * from "${a.namespace}"."__drizzle_migrations"`, '42501'],
          [`select query from pg_stat_activity`, '42501'],
          [`select query from pg_stat_get_activity(null)`, '42501'],
          [`select lo_get(4711)`, '42501'],
          [`create database mine`, '42501'],
          [`drop database "${b.namespace}"`, '42501'],
          [`alter database "${a.namespace}" set search_path to public`, '42501'],
          [`set role ${host.ownerRole}`, '42501'],
          [`\\c ${b.namespace}`, '42601'],
        ] as const) {
          expect(await codeOf(() => dbOf(a).execute(sql.raw(text))), text).toBe(code)
        }
      })

      it('holds the baseline rule inside: without a scope the serving role finds nothing', async () => {
        const bare = await host.asSuperuserIn(a.namespace, async (client) => {
          // As at the start of a session of the serving role.
          const { rows } = await client.query('show search_path')
          expect(rows).toEqual([{ search_path: '""' }])
          await client.query(`set session authorization ${host.appRole}`)
          return client.query('select 1 from items').catch((error: { code: string }) => error.code)
        })
        expect(bare).toBe('42P01')
        const [rights] = await server.admin.query(
          `select has_database_privilege('public', $1, 'connect, temporary') as everybody,
           has_database_privilege($2::name, $1, 'create, temporary') as more, has_database_privilege($2::name, $1, 'connect') as connects`,
          [a.namespace, host.appRole],
        )
        expect(rights).toEqual({ everybody: false, more: false, connects: true })
        const schemas = await host.asSuperuserIn(a.namespace, async (client) => {
          const { rows } = await client.query(
            `select has_schema_privilege($1::name, 'public', 'usage') as public, has_schema_privilege($1::name, 'extensions', 'usage') as extensions,
             has_schema_privilege($1::name, 'extensions', 'create') as creates`,
            [host.appRole],
          )
          return rows
        })
        expect(schemas).toEqual([{ public: false, extensions: true, creates: false }])
      })

      it('is guarded like the others, also where a statement waited for its connection', async () => {
        const refuse = () => {
          throw tenancyError('TENANCY_ERR_TENANT_REVOKED')
        }
        expect(await codeOf(() => dbOf(a, server, refuse).select().from(items))).toBe('TENANCY_ERR_TENANT_REVOKED')
        let revoked = false
        const db = dbOf(a, server, () => {
          if (revoked) refuse()
        })
        const busy = await Promise.all(Array.from({ length: 5 }, () => dbOf(a).client.connect()))
        const waiting = codeOf(() => db.select().from(items))
        await sleep(20)
        revoked = true
        for (const client of busy) client.release()
        expect(await waiting).toBe('TENANCY_ERR_TENANT_REVOKED')
      })

      it('sends nothing ahead: a connection begins with the path, whatever the serving role is set to', async () => {
        const single = testServer(host, { strategies: ['database'], maxTenantConnections: 1 })
        await single.open()
        onTestFinished(() => single.close())
        const where = async (scope: Scope) =>
          (await dbOf(scope, single).execute(sql`select setting, source from pg_settings where name = 'search_path'`))
            .rows[0]
        const path = ({ namespace }: Scope) => `${namespace},extensions,pg_temp`
        // A role may set it for itself, in a database of tenants too.
        for (const place of ['', `in database "${a.namespace}"`]) {
          await dbOf(a, single).execute(sql.raw(`alter role ${host.appRole} ${place} set search_path to public`))
        }
        single.forget?.(a)
        for (const scope of [a, b]) expect(await where(scope)).toEqual({ setting: path(scope), source: 'client' })
        for (const back of ['reset all', 'discard all']) {
          const client = await dbOf(a, single).client.connect()
          await client.query(back)
          expect((await client.query('show search_path')).rows).toEqual([{ search_path: path(a) }])
          client.release()
        }
        for (const place of ['', `in database "${a.namespace}"`]) {
          await dbOf(a, single).execute(sql.raw(`alter role ${host.appRole} ${place} reset search_path`))
        }
      })

      it('what a tenant does to its own path harms itself alone, on that connection', async () => {
        const single = testServer(host, { strategies: ['database'], maxTenantConnections: 1 })
        await single.open()
        onTestFinished(() => single.close())
        const owners = async (scope: Scope) =>
          (await dbOf(scope, single).select().from(items)).map(({ owner }) => owner)
        for (const path of [b.namespace, 'public', 'pg_temp', `pg_temp, ${b.namespace}`, '']) {
          await dbOf(a, single).execute(sql`select set_config('search_path', ${path}, false)`)
          expect(await codeOf(() => owners(a)), path).toBe('42P01')
          expect(await codeOf(() => dbOf(a, single).execute(sql`create temporary table items (owner text)`))).toBe(
            '42501',
          )
          expect(await owners(b)).toEqual(['b'])
          // It made room for the other tenant's.
          expect(await owners(a)).toEqual(['a'])
        }
      })

      it('sends nothing on a connection that was opened to another database', async () => {
        const module = pg as unknown as PgModule
        const databases = openTenantDatabases(module, {
          url: host.appUrl,
          adminUrl: host.adminUrl,
          path: (namespace) => [namespace],
          maxConnections: 5,
          perTenant: 5,
          timeoutMs: 10_000,
          maxLifetimeSeconds: 3600,
        })
        onTestFinished(() => databases.end(0))
        const asOn = (scope: Scope, other: Scope, wire = connectionScope(scope.namespace)) =>
          tenantPool(databases.serving(other.namespace), {
            queries: scopedQueries(module),
            scope: wire,
            scopeText: (text) => text,
            guard: open,
            pooled: false,
            sharesTables: false,
            onStatement: undefined,
          }) as unknown as pg.Pool
        const read = async (pool: pg.Pool) => (await pool.query('select owner from items')).rows
        expect(await read(asOn(a, a))).toEqual([{ owner: 'a' }])
        expect(await codeOf(() => read(asOn(a, b)))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        // Without that look it would be the rows of the other.
        expect(await read(asOn(a, b, silentScope))).toEqual([{ owner: 'b' }])
        const client = await asOn(a, b).connect()
        await client.query('begin')
        expect(await codeOf(() => client.query('select owner from items'))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        await client.query('rollback')
        client.release()
        const other = await asOn(a, b).connect()
        const cursor = other.query(new Cursor('select owner from items'))
        expect(await codeOf(() => cursor.read(1))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        other.release()
      })

      it('sends the path where connections cannot begin with it, or a role serves that is too strong', async () => {
        const superuser = testServer(host, { strategies: ['database'], url: host.superUrl })
        expect(await superuser.open()).not.toEqual([])
        onTestFinished(() => superuser.close())
        expect(await codeOf(() => dbOf(a, superuser).execute(sql.raw(`drop database "${b.namespace}"`)))).toBe('25001')
        expect(await dbOf(a, superuser).$count(items)).toBe(1)
        // A pooler that nobody told of refuses what a connection should begin with, or swallows it.
        const swallowing = await startPgBouncer({
          postgresPort: servers[`postgres${version}`]?.port ?? 0,
          poolSize: 2,
          settings: { ignore_startup_parameters: 'extra_float_digits,options' },
        })
        onTestFinished(() => swallowing.stop())
        for (const port of [servers[`pgbouncer${version}`]?.port, swallowing.port]) {
          const hidden = testServer(host, { strategies: ['database'], url: withPort(host.appUrl, port ?? 0) })
          await hidden.open()
          const owners = async (scope: Scope) =>
            (await dbOf(scope, hidden).select().from(items)).map(({ owner }) => owner)
          expect([await owners(a), await owners(b)]).toEqual([['a'], ['b']])
          await hidden.close()
        }
      })

      it('destroys a connection whose session was changed', async () => {
        const single = testServer(host, { strategies: ['database'], maxTenantConnections: 1 })
        await single.open()
        await dbOf(a, single).execute(sql`set work_mem to '1MB'`)
        const [row] = (await dbOf(a, single).execute(sql`show work_mem`)).rows
        expect(row).toEqual({ work_mem: '4MB' })
        await single.close()
      })
    },
  )
}
