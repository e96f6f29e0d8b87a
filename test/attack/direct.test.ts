import { eq, inArray, sql } from 'drizzle-orm'
import type pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, newScope, open, provisionScope, testServer } from '../support/database.ts'
import { codeOf } from './operation.ts'
import { databaseOver, items, parts, sharedRoutines, tenantDdl } from './schema.ts'

const failure = (work: PromiseLike<unknown>): Promise<string | undefined> =>
  Promise.resolve(work).then(() => undefined, codeOf)

for (const version of ['15', '18'] as const) {
  for (const through of ['direct', 'PgBouncer'] as const) {
    describeWith(
      [`postgres${version}`, `pgbouncer${version}`],
      `PostgreSQL ${version}, ${through}: tenant A attacks tenant B`,
      (servers) => {
        let database: TestDatabase
        let server: DatabaseServer
        let a: Scope
        let b: Scope
        let untouched: unknown

        const clientOf = (scope: Scope) => server.client(scope, open) as pg.Pool
        const dbOf = (scope: Scope) => databaseOver(clientOf(scope))
        const run = (scope: Scope, text: string) => clientOf(scope).query(text)
        const ownersOf = async (scope: Scope) => {
          const rows = await dbOf(scope).select({ owner: items.owner }).from(items)
          return [...new Set(rows.map(({ owner }) => owner))]
        }
        const contentOf = ({ namespace }: Scope) =>
          asSuperuser(database, async (client) => {
            const rows = await client.query(`select * from "${namespace}".items order by id`)
            const children = await client.query(`select * from "${namespace}".parts order by id`)
            return [rows.rows, children.rows]
          })
        /** B's next statements, of every kind, on the one connection that A has just used. */
        const expectOfB = async () => {
          expect(await ownersOf(b)).toEqual(['b'])
          const inTransaction = await dbOf(b).transaction((tx) =>
            tx.select({ owner: items.owner }).from(items).limit(1),
          )
          expect(inTransaction).toEqual([{ owner: 'b' }])
          await run(b, `do $$ begin if (select owner from items limit 1) <> 'b' then raise 'foreign'; end if; end $$`)
          const { rows } = await run(
            b,
            `select current_setting('app.current_tenant') as tenant, owners() as owner limit 1`,
          )
          expect(rows).toEqual([{ tenant: b.tenantId, owner: 'b' }])
        }

        beforeAll(async () => {
          database = await baselineDatabase(servers[`postgres${version}`].url)
          const admin = testServer(database)
          await admin.open()
          a = await provisionScope(admin, tenantDdl('a'))
          b = await provisionScope(admin, [
            ...tenantDdl('b'),
            `insert into items (id, ref) values (500, 'only-b')`,
            `insert into parts (id, item_id) values (500, 500)`,
          ])
          await admin.close()
          await asSuperuser(database, (client) => client.query(sharedRoutines))
          untouched = await contentOf(b)
        })
        beforeEach(async () => {
          const url =
            through === 'direct' ? database.appUrl : withPort(database.appUrl, servers[`pgbouncer${version}`].port)
          server = testServer(database, { url, poolSize: 1, poolTimeout: 2 })
          await server.open()
        })
        afterEach(async () => {
          expect(await contentOf(b)).toEqual(untouched)
          await server.close()
        })
        afterAll(() => database?.drop())

        it('reaches no row of B with any verb, by id, join or subquery', async () => {
          const db = dbOf(a)
          expect(await db.select().from(items).where(eq(items.id, 500))).toEqual([])
          expect(await db.update(items).set({ n: 666 }).where(eq(items.id, 500)).returning()).toEqual([])
          expect(await db.delete(items).where(eq(items.ref, 'only-b')).returning()).toEqual([])
          expect(
            await db.select().from(parts).rightJoin(items, eq(parts.itemId, items.id)).where(eq(parts.id, 500)),
          ).toEqual([])
          const ids = db.select({ id: parts.itemId }).from(parts).where(eq(parts.id, 500))
          expect(await db.select().from(items).where(inArray(items.id, ids))).toEqual([])
          expect(await db.$count(items, eq(items.id, 500))).toBe(0)
          expect(await failure(db.insert(parts).values({ owner: 'a', itemId: 500 }))).toBe('23503')
        })

        it('upserts beside a row of B with the same keys, never into it', async () => {
          const row = { id: 500, owner: 'a', ref: 'only-b' }
          const upsert = dbOf(a)
            .insert(items)
            .values(row)
            .onConflictDoUpdate({ target: items.ref, set: { n: 666 } })
            .returning()
          expect(await upsert).toEqual([{ ...row, n: 0 }])
          await dbOf(a).delete(items).where(eq(items.id, 500))
        })

        it('reaches nothing with unqualified raw SQL of every verb', async () => {
          expect(
            (await run(a, `select * from items where id = 500 union all select * from items where ref like '%b%'`))
              .rows,
          ).toEqual([])
          expect(
            (await run(a, `with gone as (delete from items where id >= 500 returning *) select * from gone`)).rows,
          ).toEqual([])
          expect((await run(a, `table items`)).rows.every(({ owner }) => owner === 'a')).toBe(true)
          expect(await failure(run(a, 'truncate items cascade'))).toBe('42501')
          expect(await failure(run(a, 'drop table items cascade'))).toBe('42501')
          expect(await failure(run(a, `alter table items add column x int`))).toBe('42501')
          const { rows } = await run(
            a,
            `merge into items i using (values (500)) v(id) on i.id = v.id when matched then delete`,
          )
          expect(rows).toEqual([])
        })

        it('is guarded, not walled: raw SQL that names the schema of B does reach it', async () => {
          const { rows } = await run(a, `select owner from "${b.namespace}".items where id = 500`)
          expect(rows).toEqual([{ owner: 'b' }])
        })

        it('[W1] [W9] reads neither the registry nor public, and creates nothing anywhere', async () => {
          await asSuperuser(database, (client) =>
            client.query(`create schema if not exists tenancy authorization ${database.ownerRole};
            create table if not exists tenancy.tenants (url text); alter table tenancy.tenants owner to ${database.ownerRole};
            create table if not exists public.tenants (url text); grant all on public.tenants to public`),
          )
          for (const text of [
            'select * from tenancy.tenants',
            'select * from public.tenants',
            `insert into public.tenants values ('x')`,
          ])
            expect(await failure(run(a, text)), text).toBe('42501')
          // Not for lack of rights alone: public is not on the path.
          await asSuperuser(database, (client) => client.query(`grant usage on schema public to ${database.appRole}`))
          expect(await failure(run(a, 'select * from tenants'))).toBe('42P01')
          await asSuperuser(database, (client) =>
            client.query(`revoke usage on schema public from ${database.appRole}`),
          )
          expect(await failure(run(a, `select * from "${a.namespace}".__drizzle_migrations`))).toBe('42501')
          for (const place of [
            'public.x',
            'tenancy.x',
            'extensions.x',
            `"${a.namespace}".x`,
            `"${b.namespace}".x`,
            'x',
            'pg_temp.x',
          ])
            expect(await failure(run(a, `create table ${place} (id int)`)), place).toBe('42501')
          expect(await failure(run(a, 'create schema x'))).toBe('42501')
        })

        it('takes a hostile name of a schema or tenant for what it is: a name', async () => {
          const names = [
            `${a.namespace}", "${b.namespace}`,
            `x"; drop schema "${b.namespace}" cascade; --`,
            '$user',
            `'`,
            '\\',
            'ÜñÏ çödé 🐘',
            'Public',
            'pg_temp, b',
          ]
          for (const name of names) {
            const scope: Scope = {
              ...newScope(),
              namespace: name,
              tenantId: name,
              settings: { 'app.current_tenant': name },
            }
            expect(await failure(run(scope, 'select * from items')), name).toBe('42P01')
            expect(await failure(dbOf(scope).transaction((tx) => tx.select().from(items))), name).toBe('42P01')
            const read = sql`select current_setting('app.current_tenant') as tenant`
            expect((await dbOf(scope).execute(read)).rows, name).toEqual([{ tenant: name }])
            expect((await dbOf(scope).transaction((tx) => tx.execute(read))).rows, name).toEqual([{ tenant: name }])
          }
          const nul: Scope = { ...newScope(), namespace: `${a.namespace}\0` }
          expect(() => clientOf(nul)).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_STATEMENT_REFUSED' }))
          expect(await ownersOf(b)).toEqual(['b'])
        })

        it('does not move the next statement of B with SET or set_config for the session', async () => {
          const schema = `"${a.namespace}"`
          for (const text of [
            `select set_config('search_path', '${schema}', false), set_config('app.current_tenant', 'a', false)`,
            `set search_path to ${schema}`,
            `set session app.current_tenant to 'a'`,
            `do $$ begin set search_path to ${schema}; perform set_config('app.current_tenant', 'a', false); end $$`,
          ]) {
            await run(a, text)
            await expectOfB()
            await dbOf(a).transaction((tx) => tx.execute(sql.raw(text)))
            await expectOfB()
          }
        })

        it('is guarded, not walled: what a function keeps in the session stays with the connection', async () => {
          await run(a, `select set_config('app.note', 'of a', false), set_config('statement_timeout', '54321', false)`)
          await run(a, `insert into items (ref) values ('counted')`)
          await dbOf(a).delete(items).where(eq(items.ref, 'counted'))
          const { rows } = await run(
            b,
            `select current_setting('app.note') as note, current_setting('statement_timeout') as timeout, lastval() > 0 as last`,
          )
          expect(rows).toEqual([{ note: 'of a', timeout: '54321ms', last: true }])
          await run(a, `select set_config('app.note', '', false), set_config('statement_timeout', '0', false)`)
        })

        it('becomes no other role', async () => {
          for (const text of [
            `set role ${database.ownerRole}`,
            'set role postgres',
            'set session authorization postgres',
            `select set_config('role', '${database.ownerRole}', true)`,
            `select set_config('role', 'postgres', false)`,
          ])
            expect(['42501', '22023']).toContain(await failure(run(a, text)))
          await run(a, 'reset role')
          await expectOfB()
        })

        it("runs a statement that A prepared on B's rows, or not at all", async () => {
          await run(a, 'prepare mine as select owner from items')
          const rows = await run(b, 'execute mine').then(
            (result) => result.rows as { owner: string }[],
            (error: unknown) => {
              expect(codeOf(error)).toBe('26000')
              return []
            },
          )
          expect(rows.filter(({ owner }) => owner !== 'b')).toEqual([])
        })

        it('hears nothing that B announces, and B nothing of what A does', async () => {
          const heard: unknown[] = []
          const listener = await clientOf(a).connect()
          listener.on('notification', (message) => heard.push(message))
          await listener.query('listen news')
          listener.release()
          const speaker = await clientOf(b).connect()
          speaker.on('notification', (message) => heard.push(message))
          await speaker.query(`select pg_notify('news', 'of b')`)
          await speaker.query('select 1')
          speaker.release()
          expect(heard).toEqual([])
        })

        it('shadows no table of B with a temporary one, not even where TEMP was granted, of which the start warns', async () => {
          await asSuperuser(database, (client) =>
            client.query(`grant temporary on database ${database.database} to ${database.appRole}`),
          )
          const lax = testServer(database, { poolSize: 1 })
          expect(await lax.open()).toEqual([expect.stringContaining('temporary tables')])
          await lax.close()
          await run(a, `create temporary table items as select * from items`)
          await run(a, `create temporary table parts (owner text)`)
          await expectOfB()
          expect(await dbOf(b).$count(parts, eq(parts.id, 500))).toBe(1)
          await run(a, 'drop table if exists pg_temp.items, pg_temp.parts').catch(() => {})
          await asSuperuser(database, (client) =>
            client.query(`revoke temporary on database ${database.database} from ${database.appRole}`),
          )
        })

        it('leaves its scope with no disguise of transaction control', async () => {
          const disguises = [
            '',
            ' ',
            ';',
            ';;\n',
            '/**/',
            '/* /* */ */',
            '-- x\n',
            '--\r',
            '\v',
            '\f',
            '\u00a0',
            '\ufeff',
            '\u2028',
            '(',
            'U&',
            '/*',
          ]
          const controls = [
            'commit and chain',
            'rollback and chain',
            'end work and chain',
            'abort and chain',
            `prepare transaction 'x'`,
            'commit;select 1',
            'discard all',
          ]
          for (const control of controls) {
            for (const disguise of disguises) {
              let [sent, read]: [string | undefined, unknown] = [undefined, undefined]
              await dbOf(a)
                .transaction(async (tx) => {
                  sent = await failure(tx.execute(sql.raw(disguise + control)))
                  read = await tx
                    .execute(sql`select owner, current_setting('app.current_tenant') as tenant from items`)
                    .then(({ rows }) => rows, codeOf)
                })
                .catch(() => {})
              expect(sent, JSON.stringify(disguise + control)).toMatch(
                /^(TENANCY_ERR_STATEMENT_REFUSED|TENANCY_ERR_TRANSACTION_FINISHED|42601|55000|25001|22023)$/,
              )
              if (Array.isArray(read))
                expect(
                  new Set(read.map((row: { owner: string; tenant: string }) => row.owner + row.tenant)),
                  control,
                ).toEqual(new Set([`a${a.tenantId}`]))
              else expect(['25P02', 'TENANCY_ERR_TRANSACTION_FINISHED'], control).toContain(read)
            }
          }
          await expectOfB()
        })

        it('keeps a query, a prepared query and a database with their tenant, wherever and whenever they run', async () => {
          const ofA = dbOf(a)
          const query = ofA.select({ owner: items.owner }).from(items).limit(1)
          const prepared = ofA.select({ owner: items.owner }).from(items).limit(1).prepare('kept')
          await expectOfB()
          expect(await query).toEqual([{ owner: 'a' }])
          expect(await dbOf(b).transaction(async () => 'nothing sent')).toBe('nothing sent')
          expect(await prepared.execute()).toEqual([{ owner: 'a' }])
          expect((await ofA.query.items.findMany()).every(({ owner }) => owner === 'a')).toBe(true)
        })
      },
    )
  }
}
