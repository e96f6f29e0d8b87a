import { eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { integer, pgTable, serial, text } from 'drizzle-orm/pg-core'
import type pg from 'pg'
import Cursor from 'pg-cursor'
import QueryStream from 'pg-query-stream'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { findTenancyError } from '../../src/errors.ts'
import { withPort, type TestDatabase } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, newScope, open, provisionScope, testServer } from '../support/database.ts'

const items = pgTable('items', {
  id: serial('id').primaryKey(),
  owner: text('owner').notNull(),
  n: integer('n').notNull().default(0),
})

const ddl = (owner: string) => [
  `create table items (id serial primary key, owner text not null default '${owner}', n integer not null default 0)`,
  `insert into items (owner) values ('${owner}')`,
]

const codeOf = async (work: () => unknown): Promise<string | undefined> => {
  try {
    await work()
    return undefined
  } catch (error) {
    return (
      findTenancyError(error)?.code ??
      (error as { cause?: { code?: string }; code?: string }).cause?.code ??
      (error as { code?: string }).code
    )
  }
}

for (const version of ['15', '18'] as const) {
  for (const through of ['direct', 'pgbouncer'] as const) {
    const needs =
      through === 'direct'
        ? ([`postgres${version}`] as const)
        : ([`postgres${version}`, `pgbouncer${version}`] as const)
    describeWith([...needs], `PostgreSQL ${version} ${through}`, (servers) => {
      let database: TestDatabase
      let server: DatabaseServer
      let a: Scope
      let b: Scope
      const urlOf = () => {
        const bouncer = servers[`pgbouncer${version}`]
        return through === 'direct' || bouncer === undefined ? database.appUrl : withPort(database.appUrl, bouncer.port)
      }
      const dbOf = (scope: Scope, on = server, guard = open) => {
        const client = on.client(scope, guard) as unknown as pg.Pool
        return Object.assign(drizzle({ client, schema: { items } }), { client })
      }

      beforeAll(async () => {
        const postgres = servers[`postgres${version}`]
        database = await baselineDatabase(postgres?.url ?? '')
        server = testServer(database, { url: urlOf(), poolSize: 2 })
        expect(await server.open()).toEqual([])
        a = await provisionScope(server, ddl('a'))
        b = await provisionScope(server, ddl('b'))
      })
      afterAll(async () => {
        await server?.close()
        await database?.drop()
      })

      it('gives each tenant its own rows on one pool', async () => {
        const [ofA, ofB] = [dbOf(a), dbOf(b)]
        for (let round = 0; round < 20; round++) {
          const [rowsA, rowsB] = await Promise.all([ofA.select().from(items), ofB.select().from(items)])
          expect(rowsA.map((row) => row.owner)).toEqual(['a'])
          expect(rowsB.map((row) => row.owner)).toEqual(['b'])
        }
      })

      it('[W64] runs prepared statements, also through a pooler in transaction mode', async () => {
        const prepared = dbOf(a)
          .select()
          .from(items)
          .where(eq(items.owner, sql.placeholder('owner')))
          .prepare('by_owner')
        expect(await prepared.execute({ owner: 'a' })).toHaveLength(1)
        expect(await prepared.execute({ owner: 'b' })).toHaveLength(0)
      })

      it('commits, rolls back and nests transactions, with isolation levels', async () => {
        const db = dbOf(a)
        await db.transaction(
          async (tx) => {
            await tx.insert(items).values({ owner: 'tx', n: 1 })
            await tx.transaction(async (inner) => inner.insert(items).values({ owner: 'tx', n: 2 }))
            await tx
              .transaction(async (inner) => {
                await inner.insert(items).values({ owner: 'tx', n: 3 })
                inner.rollback()
              })
              .catch(() => {})
            const [level] = (await tx.execute(sql`show transaction_isolation`)).rows
            expect(level).toEqual({ transaction_isolation: 'serializable' })
          },
          { isolationLevel: 'serializable', accessMode: 'read write' },
        )
        expect(await db.$count(items, eq(items.owner, 'tx'))).toBe(2)
        await expect(
          db.transaction(async (tx) => {
            await tx.delete(items)
            throw new Error('no')
          }),
        ).rejects.toThrow('no')
        expect(await db.$count(items)).toBe(3)
        await db.delete(items).where(eq(items.owner, 'tx'))
        expect(await dbOf(b).$count(items)).toBe(1)
      })

      it('tells of a commit that the server turned into a rollback', async () => {
        const code = await codeOf(() =>
          dbOf(a).transaction(async (tx) => {
            await tx.insert(items).values({ owner: 'lost' })
            await tx.execute(sql`select 1/0`).catch(() => {})
          }),
        )
        expect(code).toBe('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
        expect(await dbOf(a).$count(items, eq(items.owner, 'lost'))).toBe(0)
      })

      it('refuses statements after a raw COMMIT, ROLLBACK or the end of a transaction', async () => {
        for (const raw of ['commit', '/* x */ COMMIT WORK ;', 'rollback', 'end transaction']) {
          const code = await codeOf(() =>
            dbOf(a).transaction(async (tx) => {
              await tx.execute(sql.raw(raw))
              await tx.select().from(items)
            }),
          )
          expect(code, raw).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
        }
        let kept: { select: ReturnType<typeof dbOf>['select'] } | undefined
        await dbOf(a).transaction(async (tx) => {
          kept = tx as unknown as typeof kept
          await tx.select().from(items)
        })
        expect(await codeOf(() => kept?.select().from(items))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
      })

      it('refuses transaction control that would leave the scope', async () => {
        for (const raw of [
          'commit and chain',
          'rollback /* */ and chain',
          'COMMIT AND\nCHAIN',
          "commit prepared 'x'",
        ]) {
          const code = await codeOf(() => dbOf(a).transaction(async (tx) => tx.execute(sql.raw(raw))))
          expect(code, raw).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        }
        for (const raw of ['begin', '; start transaction', '/**/ begin -- x', 'commit']) {
          expect(await codeOf(() => dbOf(a).execute(sql.raw(raw))), raw).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        }
        expect(await codeOf(() => dbOf(a).client.end())).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      })

      it('sends what it has read, whatever a getter says the next time', async () => {
        const texts = (...said: string[]) => {
          const config = { asked: 0, rowMode: undefined }
          return Object.defineProperty(config, 'text', { get: () => said[Math.min(config.asked++, said.length - 1)] })
        }
        const { client } = dbOf(a)
        const changing = "set application_name to 'left'"
        expect(await codeOf(() => client.query(texts('begin', 'select 1') as never))).toBe(
          'TENANCY_ERR_STATEMENT_REFUSED',
        )
        const result: unknown = client.query(texts('select 1', changing) as never)
        await expect(result).resolves.toMatchObject({ command: 'SELECT' })
      })

      it('keeps CALL and DO that commit inside the scope', async () => {
        await asSuperuser(database, (client) =>
          client.query(`create schema if not exists trap; grant usage on schema trap to public;
            create table if not exists trap.items (owner text); grant all on trap.items to public;
            create or replace procedure extensions.leaving() language plpgsql as $$ begin commit; insert into items (owner) values ('escaped'); end $$`),
        )
        for (const raw of [
          'call leaving()',
          '; /* x */ call leaving()',
          '-- c\n do $$ begin commit; end $$',
          'DO $$ begin rollback; end $$',
        ]) {
          expect(await codeOf(() => dbOf(a).execute(sql.raw(raw))), raw).toBe('2D000')
        }
        await dbOf(a).execute(sql.raw(`do $$ begin insert into items (owner, n) values ('done', 1); end $$`))
        expect(await dbOf(a).$count(items, eq(items.owner, 'done'))).toBe(1)
        await dbOf(a).delete(items).where(eq(items.owner, 'done'))
        expect(await dbOf(a).$count(items)).toBe(1)
      })

      it('[W1] never falls through to another schema: a missing table is an error', async () => {
        await asSuperuser(database, (client) =>
          client.query(
            `create table if not exists public.shared (id int); grant usage on schema public to ${database.appRole}; grant all on public.shared to public`,
          ),
        )
        expect(await codeOf(() => dbOf(a).execute(sql`select * from shared`))).toBe('42P01')
        await asSuperuser(database, (client) => client.query(`revoke all on schema public from ${database.appRole}`))
      })

      it('shares no large object, statistic or running statement, which belong to no schema', async () => {
        for (const text of [
          `select lo_from_bytea(0, 'secret'::bytea)`,
          'select lo_get(4711)',
          'select lo_unlink(4711)',
          'select * from pg_largeobject_metadata',
          `select most_common_vals::text from pg_stats where tablename = 'items'`,
          'select query from pg_stat_activity',
          'select query from pg_stat_get_activity(null)',
          'select pg_stat_get_backend_activity(id) from pg_stat_get_backend_idset() id',
        ]) {
          expect(await codeOf(() => dbOf(a).execute(sql.raw(text))), text).toBe('42501')
        }
      })

      it('cannot be shadowed by a temporary table', async () => {
        expect(await codeOf(() => dbOf(a).execute(sql`create temporary table items (owner text)`))).toBe('42501')
        await asSuperuser(database, (client) =>
          client.query(`grant temporary on database ${database.database} to ${database.appRole}`),
        )
        const single = testServer(database, { url: urlOf(), poolSize: 1 })
        await single.open()
        await dbOf(a, single).execute(sql`create temporary table items (owner text)`)
        expect((await dbOf(b, single).select({ owner: items.owner }).from(items)).map((row) => row.owner)).toEqual([
          'b',
        ])
        await single.close()
        await asSuperuser(database, (client) =>
          client.query(`revoke temporary on database ${database.database} from ${database.appRole}`),
        )
      })

      it('leaves nothing behind on a connection', async () => {
        const probe = testServer(database, { url: urlOf(), poolSize: 1 })
        await probe.open()
        await dbOf(a, probe).select().from(items)
        await dbOf(a, probe)
          .execute(sql`select 1/0`)
          .catch(() => {})
        await dbOf(b, probe).transaction(async (tx) => tx.select().from(items))
        const unscoped = { ...newScope(), strategy: 'prefix', settings: {} } satisfies Scope
        const [row] = (
          await dbOf(unscoped, probe).execute(
            sql`select current_setting('app.current_tenant', true) as tenant, current_schemas(false)::text as path`,
          )
        ).rows
        expect([null, '']).toContain(row?.['tenant'])
        expect(row?.['path']).toMatch(/^\{extensions(,pg_temp_\d+)?\}$/)
        await probe.close()
      })

      it('does not hand on a session that a statement changed', async () => {
        const single = testServer(database, { url: urlOf(), poolSize: 1 })
        await single.open()
        await dbOf(a, single).execute(sql`set statement_timeout to 12345`)
        expect(single.stats()['serving']).toMatchObject({ total: 0 })
        await single.close()
      })

      it.each([
        'set statement_timeout to 12345',
        "/* a comment first */ set session statement_timeout to '1s'",
        'reset all',
        'listen mine',
        'prepare mine as select 1',
        'deallocate all',
        'create temp table mine (a int)',
        'create temporary view mine as select 1',
        'create or replace local temporary view mine as select 1',
        `create ${' '.repeat(500)} temp table mine (a int)`,
        'set "search_path" = local, public',
        'set U&"search_path" = transaction, public',
        `set u&"search!005fpath" uescape '!' = constraints`,
      ])('destroys the connection of, or refuses behind a pooler: %s', async (text) => {
        for (const pooled of [false, true]) {
          const single = testServer(database, { url: urlOf(), poolSize: 1, pooled })
          await single.open()
          await dbOf(a, single).execute(sql`select 1`)
          const sent = codeOf(() => dbOf(a, single).execute(sql.raw(text)))
          if (pooled) expect(await sent).toBe('TENANCY_ERR_STATEMENT_REFUSED')
          else await sent
          expect(single.stats()['serving']).toMatchObject({ total: pooled ? 1 : 0 })
          const inside = codeOf(() => dbOf(a, single).transaction((tx) => tx.execute(sql.raw(text))))
          if (pooled) expect(await inside).toBe('TENANCY_ERR_STATEMENT_REFUSED')
          else await inside
          expect(single.stats()['serving']).toMatchObject({ total: pooled ? 1 : 0 })
          await single.close()
        }
      })

      it.each(['set local statement_timeout to 5000', 'set constraints all deferred', 'set transaction read only'])(
        'lets through what ends with its transaction: %s',
        async (text) => {
          const single = testServer(database, { url: urlOf(), poolSize: 1, pooled: true })
          await single.open()
          await dbOf(a, single).transaction((tx) => tx.execute(sql.raw(text)))
          await single.close()
        },
      )

      it('[W51] [schema-10] tenants whose tables differ meanwhile never hear of a cached plan', async () => {
        const single = testServer(database, { url: urlOf(), poolSize: 1 })
        await single.open()
        await single.admin.query(`alter table "${b.namespace}".items add column later text`)
        const all = (scope: Scope) => dbOf(scope, single).execute(sql`select * from items`)
        const prepared = [a, b].map((scope) => dbOf(scope, single).select().from(items).prepare('all_items'))
        for (let i = 0; i < 4; i++) {
          expect(Object.keys((await all(a)).rows[0] ?? {})).not.toContain('later')
          expect(Object.keys((await all(b)).rows[0] ?? {})).toContain('later')
          for (const query of prepared) await query.execute()
          // As pg itself names statements: one name, one text, two result types.
          for (const scope of [a, b, a]) {
            const { rows } = await dbOf(scope, single).client.query({ name: 'everything', text: 'select * from items' })
            expect('later' in (rows[0] as object)).toBe(scope === b)
          }
        }
        await single.admin.query(`alter table "${b.namespace}".items drop column later`)
        await single.close()
      })

      it('runs cursors and streams in their scope, closed early or not, and several statements only one by one', async () => {
        const db = dbOf(a)
        const client = await db.client.connect()
        const cursor = client.query(new Cursor('select owner, generate_series(1, 50) as n from items'))
        const rows = await cursor.read(10)
        expect(rows).toHaveLength(10)
        expect(new Set(rows.map((row: { owner: string }) => row.owner))).toEqual(new Set(['a']))
        await cursor.close()
        client.release()

        const streaming = await dbOf(b).client.connect()
        const owners: string[] = []
        for await (const row of streaming.query(
          new QueryStream('select owner, generate_series(1, 250) as n from items'),
        ))
          owners.push((row as { owner: string }).owner)
        streaming.release()
        expect(owners).toHaveLength(250)
        expect(new Set(owners)).toEqual(new Set(['b']))

        const abandoned = await db.client.connect()
        const open = abandoned.query(new Cursor('select generate_series(1, 50)'))
        await open.read(1)
        abandoned.release()
        expect((await dbOf(b).select().from(items)).map((row) => row.owner)).toEqual(['b'])
        expect(await codeOf(() => db.execute(sql.raw('select 1; select 2')))).toBe('42601')
      })

      it('refuses a cursor that was used before, and one over anything but a plain statement', async () => {
        const kept = new Cursor('select owner from items')
        const use = async (scope: Scope) => {
          const client = await dbOf(scope).client.connect()
          try {
            const rows = await client.query(kept).read(10)
            await kept.close()
            return rows.map((row: { owner: string }) => row.owner)
          } finally {
            client.release()
          }
        }
        expect(await use(a)).toEqual(['a'])
        expect(await codeOf(() => use(b))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        const client = await dbOf(a).client.connect()
        for (const text of [
          'copy items to stdout',
          'copy items from stdin',
          'declare w cursor with hold for select owner from items',
          '/* x */ set statement_timeout to 4321',
          'begin',
          'call x()',
        ]) {
          expect(await codeOf(() => client.query(new Cursor(text))), text).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        }
        client.release()
      })

      it('leaves no cursor WITH HOLD to the next tenant, however it was opened', async () => {
        const single = testServer(database, { url: urlOf(), poolSize: 1 })
        await single.open()
        const hold = 'declare held cursor with hold for select owner from items'
        expect(await codeOf(() => dbOf(a, single).execute(sql.raw(hold)))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        await dbOf(a, single).execute(sql.raw(`do $$ begin execute '${hold}'; end $$`))
        expect(await codeOf(() => dbOf(b, single).execute(sql`fetch all from held`))).toBe('34000')
        await dbOf(a, single).transaction((tx) => tx.execute(sql.raw(`do $$ begin execute '${hold}'; end $$`)))
        expect(await codeOf(() => dbOf(b, single).execute(sql`fetch all from held`))).toBe('34000')
        await single.close()
      })

      it('frees the place in the pool of a connection that dies under a cursor', async () => {
        const single = testServer(database, { url: urlOf(), poolSize: 1 })
        await single.open()
        const client = await dbOf(a, single).client.connect()
        const cursor = client.query(new Cursor('select generate_series(1, 100) as n, pg_backend_pid() as pid'))
        const [row] = await cursor.read(1)
        await asSuperuser(database, (killer) => killer.query('select pg_terminate_backend($1)', [row.pid]))
        expect((await dbOf(b, single).select().from(items)).map((each) => each.owner)).toEqual(['b'])
        await single.close()
      })

      it('checks the guard before every statement', async () => {
        let served = true
        const guard = () => {
          if (!served) throw Object.assign(new Error('revoked'), { code: 'REVOKED' })
        }
        const db = dbOf(a, server, guard)
        expect(await db.$count(items)).toBe(1)
        expect(
          await codeOf(() =>
            db.transaction(async (tx) => {
              await tx.insert(items).values({ owner: 'gone' })
              served = false
              await tx.select().from(items)
            }),
          ),
        ).toBe('REVOKED')
        expect(await codeOf(() => db.select().from(items))).toBe('REVOKED')
        expect(await codeOf(() => db.transaction(async () => {}))).toBe('REVOKED')
        expect(await dbOf(a).$count(items)).toBe(1)
      })

      it('runs a lazy transaction: one connection at its first statement, savepoints inside, all or nothing', async () => {
        const lazy = server.lazyTransaction(a, open)
        const db = drizzle({ client: lazy.client as unknown as pg.Pool })
        await db.insert(items).values({ owner: 'lazy' })
        await db.transaction(async (tx) => {
          await tx.insert(items).values({ owner: 'lazy' })
        })
        await db
          .transaction(async (tx) => {
            await tx.insert(items).values({ owner: 'lazy' })
            tx.rollback()
          })
          .catch(() => {})
        expect(await dbOf(a).$count(items, eq(items.owner, 'lazy'))).toBe(0)
        await lazy.commit()
        expect(await dbOf(a).$count(items, eq(items.owner, 'lazy'))).toBe(2)
        expect(await codeOf(() => db.select().from(items))).toBe('TENANCY_ERR_TRANSACTION_FINISHED')
        await dbOf(a).delete(items).where(eq(items.owner, 'lazy'))

        const undone = server.lazyTransaction(a, open)
        await drizzle({ client: undone.client as unknown as pg.Pool }).delete(items)
        await undone.rollback()
        await undone.rollback()
        expect(await dbOf(a).$count(items)).toBe(1)
        const untouched = server.lazyTransaction(a, open)
        await untouched.commit()
      })

      it('[W56] sends one scoped statement in one network turn', async () => {
        const proxy = await startProxy({ target: Number(new URL(urlOf()).port), delayMs: 1 })
        const through = testServer(database, { url: withPort(database.appUrl, proxy.port), poolSize: 1 })
        await through.open()
        const db = dbOf(a, through)
        await db.select().from(items)
        proxy.resetCounters()
        for (let i = 0; i < 5; i++) await db.select().from(items).where(eq(items.owner, 'a'))
        expect(proxy.turns).toBe(5)
        proxy.resetCounters()
        await db.transaction(async (tx) => tx.select().from(items))
        expect(proxy.turns).toBe(3)
        await through.close()
        await proxy.stop()
      })
    })
  }
}
