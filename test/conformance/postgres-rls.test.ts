import { randomUUID } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Migration } from '../../src/contracts/migrator.ts'
import { childrenFirst } from '../../src/dialects/postgres/rls/destroy-rows.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, open, placedScope, sharedSchemas, testServer } from '../support/database.ts'

const TENANT = 'tenant_id uuid not null'
const ITEMS = `create table items (${TENANT}, id int not null, owner text not null, primary key (tenant_id, id))`

let migrationNumber = 0
const migration = (...statements: readonly string[]): Migration => {
  const name = `m${++migrationNumber}`
  return { name, file: `${name}.sql`, hash: name, createdAt: migrationNumber, statements }
}

for (const name of ['postgres15', 'postgres18'] as const) {
  const bouncer = name === 'postgres15' ? 'pgbouncer15' : 'pgbouncer18'
  describeWith([name, bouncer], `row-level security on ${name}`, (servers) => {
    let database: TestDatabase
    let server: DatabaseServer
    const scope = () => placedScope(rlsStrategy())
    const opened = async (options: Parameters<typeof testServer>[1] = {}) => {
      const made = testServer(database, { strategies: ['rls'], ...options })
      await made.open()
      return made
    }
    /** A schema of its own for each test, so that none meets what another left. */
    const fresh = () => ({ shared: { ...sharedSchemas, rlsSchema: `rls_${++migrationNumber}` } })
    const over = (on: DatabaseServer, tenant: Scope) => drizzle({ client: on.client(tenant, open) as never })
    const rows = async (on: DatabaseServer, tenant: Scope, text: string) =>
      (await over(on, tenant).execute(sql.raw(text))).rows
    const codeOf = (work: Promise<unknown>) =>
      work.then(
        () => undefined,
        (error: { code?: string; cause?: { code?: string } }) => error.cause?.code ?? error.code,
      )
    const migrate = (on: DatabaseServer, tenant: Scope, ...migrations: Migration[]) =>
      migrateNamespace({ server: on, scope: tenant, migrations })

    beforeAll(async () => {
      database = await baselineDatabase(servers[name].url)
      server = await opened()
    })
    afterAll(async () => {
      await server?.close()
      await database?.drop()
    })

    describe('a protected table', () => {
      let a: Scope
      let b: Scope
      beforeAll(async () => {
        ;[a, b] = [scope(), scope()]
        const made = migration(ITEMS, 'create index items_owner on items (tenant_id, owner)')
        await migrate(server, a, made)
        await migrate(server, b, made)
        for (const [tenant, owner] of [
          [a, 'a'],
          [b, 'b'],
        ] as const) {
          await rows(server, tenant, `insert into items (id, owner) values (1, '${owner}'), (2, '${owner}')`)
        }
      })

      it('[W10] [W29] shows and changes only the rows of the tenant, without a filter in the query', async () => {
        expect(await rows(server, a, 'select owner from items')).toEqual([{ owner: 'a' }, { owner: 'a' }])
        expect(
          await rows(
            server,
            a,
            `select x.owner from items x join items y on true join items z on true where x.id = 1 and y.id = 1 and z.id = 1`,
          ),
        ).toEqual([{ owner: 'a' }])
        await rows(server, a, `update items set owner = 'changed'`)
        expect(await rows(server, b, 'select distinct owner from items')).toEqual([{ owner: 'b' }])
        await rows(server, a, `update items set owner = 'a'`)
      })

      it('[W10] refuses rows of another tenant, by insert, update and upsert', async () => {
        const other = `'${b.tenantId}'`
        expect(await codeOf(rows(server, a, `insert into items values (${other}, 7, 'a')`))).toBe('42501')
        expect(await codeOf(rows(server, a, `update items set tenant_id = ${other} where id = 1`))).toBe('42501')
        const upsert = `insert into items values (${other}, 1, 'a') on conflict (tenant_id, id) do update set owner = 'stolen'`
        expect(await codeOf(rows(server, a, upsert))).toBe('42501')
        expect(await rows(server, b, 'select owner from items order by id')).toEqual([{ owner: 'b' }, { owner: 'b' }])
      })

      it('[W10] is empty without a tenant, and takes nothing', async () => {
        const nobody = { ...a, settings: {} }
        expect(await rows(server, nobody, 'select * from items')).toEqual([])
        expect(await codeOf(rows(server, nobody, `insert into items (id, owner) values (9, 'x')`))).toBe('42501')
        expect(await codeOf(rows(server, nobody, `insert into items values ('${a.tenantId}', 9, 'x')`))).toBe('42501')
        // Once a transaction-local setting has ended its value is empty, which must not be an error.
        const empty = { ...a, settings: { 'app.current_tenant': '' } }
        expect(await rows(server, empty, 'select * from items')).toEqual([])
      })

      it('[W19] holds in every transaction, after commits, rollbacks and savepoints, on one connection', async () => {
        const single = await opened({ poolSize: 1 })
        for (const [tenant, owner] of [
          [a, 'a'],
          [b, 'b'],
          [a, 'a'],
        ] as const) {
          const db = over(single, tenant)
          const owners = async (on: Pick<typeof db, 'execute'>) =>
            (await on.execute(sql`select distinct owner from items`)).rows
          await db.transaction(async (tx) => {
            expect(await owners(tx)).toEqual([{ owner }])
            await tx
              .transaction(async (nested) => {
                await nested.execute(sql`delete from items`)
                throw new TypeError('undo')
              })
              .catch(() => {})
            expect(await owners(tx)).toEqual([{ owner }])
          })
          await db.transaction(() => Promise.reject(new TypeError('undo'))).catch(() => {})
          expect(await owners(db)).toEqual([{ owner }])
        }
        await single.close()
      })

      it('[rls-21] cannot be truncated, copied or referred to, and stays closed when the database is asked directly', async () => {
        expect(await codeOf(rows(server, a, 'truncate items'))).toBe('42501')
        for (const copy of ['copy items to stdout', 'copy items from stdin', 'copy (select * from items) to stdout']) {
          expect(await codeOf(rows(server, a, copy)), copy).toBe('TENANCY_ERR_STATEMENT_REFUSED')
        }
        expect(await codeOf(rows(server, a, 'alter table items disable row level security'))).toBe('42501')
        expect(await codeOf(rows(server, a, 'create policy mine on items using (true)'))).toBe('42501')
        await rows(server, a, 'set local row_security to off').catch(() => {})
        const off = over(server, a).transaction(async (tx) => {
          await tx.execute(sql`set local row_security to off`)
          await tx.execute(sql`select * from items`)
        })
        expect(await codeOf(off)).toBe('42501')
      })

      it('works behind a pooler, with ten tenants at once', async () => {
        const through = await opened({
          url: withPort(database.appUrl, servers[bouncer].port),
          poolSize: 3,
          pooled: true,
        })
        const found = await Promise.all(
          Array.from({ length: 60 }, async (_, i) => {
            const [tenant, owner] = i % 2 === 0 ? [a, 'a'] : [b, 'b']
            const own = await rows(through, tenant, 'select owner from items')
            return own.length === 2 && own.every((row) => row['owner'] === owner)
          }),
        )
        expect(found).not.toContain(false)
        await through.close()
      })

      it('[W28] has an index over several columns, the tenant among them, as each tenant’s own', async () => {
        const made = migration(
          `create table marks (${TENANT}, a int not null, b int not null)`,
          'create unique index marks_a_b on marks (tenant_id, a, b)',
        )
        for (const tenant of [a, b]) await migrate(server, tenant, made)
        const mark = (tenant: Scope, x: number, y: number) =>
          rows(server, tenant, `insert into marks (a, b) values (${x}, ${y})`)
        await mark(a, 1, 1)
        await mark(a, 1, 2)
        await mark(b, 1, 1)
        expect(await codeOf(mark(a, 1, 1))).toBe('23505')
        expect(await rows(server, b, 'select a, b from marks')).toEqual([{ a: 1, b: 1 }])
        const [index] = await server.admin.query<{ text: string }>(
          `select indexdef as text from pg_indexes where indexname = 'marks_a_b'`,
        )
        expect(index?.text).toMatch(/^CREATE UNIQUE INDEX .*\(tenant_id, a, b\)$/)
      })

      it('[rls-22] is guarded, not walled: SQL that sets another tenant does reach its rows', async () => {
        const set = sql`select set_config('app.current_tenant', ${b.tenantId}, true)`
        const foreign = over(server, a).transaction(async (tx) => {
          await tx.execute(set)
          return (await tx.execute(sql`select distinct owner from items`)).rows
        })
        expect(await foreign).toEqual([{ owner: 'b' }])
      })

      it('[rls-16] one connection and one role serve all tenants, and no query of theirs is prepared by name', async () => {
        const single = await opened({ poolSize: 1 })
        const seen = new Set<string>()
        // More often than PostgreSQL looks at the parameters before it keeps one plan for all.
        for (let round = 0; round < 8; round++) {
          for (const [tenant, owner] of [
            [a, 'a'],
            [b, 'b'],
          ] as const) {
            const client = single.client(tenant, open) as unknown as pg.Pool
            const named = await client.query({ name: 'owners', text: 'select distinct owner from items' })
            expect(named.rows).toEqual([{ owner }])
            const [session] = await rows(single, tenant, `select pg_backend_pid() || ' ' || current_user as session`)
            seen.add(String(session?.['session']))
          }
        }
        expect(seen.size).toBe(1)
        expect(await codeOf(rows(single, a, 'deallocate owners'))).toBe('26000')
        await single.close()
      })

      it('[rls-19] BEGIN takes the tenant with it in one message, and a tenant ends with its transaction', async () => {
        const proxy = await startProxy({ target: servers[name].port, delayMs: 1 })
        const single = await opened({ url: withPort(database.appUrl, proxy.port), poolSize: 1 })
        const session = `select pg_backend_pid() as pid, coalesce(current_setting('app.current_tenant', true), '') as tenant`
        const nobody = { ...a, settings: {} }
        const [before] = await rows(single, nobody, session)
        expect(before).toMatchObject({ tenant: '' })
        proxy.resetCounters()
        await over(single, a).transaction(async (tx) => {
          expect((await tx.execute(sql`select distinct owner from items`)).rows).toEqual([{ owner: 'a' }])
        })
        expect(proxy.turns).toBe(3) // BEGIN and the tenant, the query, COMMIT
        expect(await rows(single, nobody, session)).toEqual([before])
        proxy.resetCounters()
        expect(await rows(single, b, 'select distinct owner from items')).toEqual([{ owner: 'b' }])
        expect(proxy.turns).toBe(1)
        expect(await rows(single, nobody, session)).toEqual([before])
        await single.close()
        await proxy.stop()
      })

      it('[rls-23] uses the index of the tenant, with a filter in the query and without', async () => {
        await asSuperuser(database, (client) =>
          client.query(
            `insert into rls.items select gen_random_uuid(), n, 'x' from generate_series(1, 20000) n; analyze rls.items`,
          ),
        )
        for (const query of [`select * from items where owner = 'a'`, 'select * from items']) {
          const plan = (await rows(server, a, `explain ${query}`)).map((row) => row['QUERY PLAN'])
          expect(plan.join('\n'), query).toMatch(/Index Cond: .*tenant_id = /)
        }
      })

      it('control: without the policies the same statements show everybody’s rows', async () => {
        const bare = await opened(fresh())
        await migrate(bare, a, migration(ITEMS))
        await rows(bare, a, `insert into items (id, owner) values (1, 'a')`)
        const schema = `rls_${migrationNumber - 1}`
        await bare.admin.query(`alter table "${schema}".items disable row level security`)
        expect(await rows(bare, b, 'select owner from items')).toEqual([{ owner: 'a' }])
        await bare.close()
      })
    })

    it('protects again what a later migration adds, and changes nothing when there is nothing to change', async () => {
      const on = await opened(fresh())
      const tenant = scope()
      const first = migration(ITEMS)
      await migrate(on, tenant, first)
      const state = () =>
        on.admin.query(
          `select c.relname, c.relrowsecurity, c.relforcerowsecurity, c.xmin::text, p.polname, p.oid, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
           from pg_class c left join pg_policy p on p.polrelid = c.oid where c.relnamespace = $1::regnamespace and c.relkind = 'r' order by 1, 5`,
          [`rls_${migrationNumber - 1}`],
        )
      const before = await state()
      expect(before.filter((row) => (row as { relrowsecurity: boolean }).relrowsecurity)).toHaveLength(2)
      await migrate(on, scope(), first)
      expect(await state()).toEqual(before)
      const second = migration(
        'create table more (tenant_id text, id int)',
        'create table even_more (tenant_id varchar(36), id int)',
      )
      await migrate(on, tenant, first, second)
      const tables = await on.admin.query<{ name: string; column: string }>(
        `select c.relname::text as name, pg_get_expr(d.adbin, d.adrelid) as column from pg_class c join pg_attrdef d on d.adrelid = c.oid
         where c.relnamespace = $1::regnamespace and c.relname like '%more' and c.relforcerowsecurity order by 1`,
        [`rls_${migrationNumber - 2}`],
      )
      expect(tables).toHaveLength(2)
      await on.close()
    })

    it('keeps a table that somebody made by hand out of reach, until a run of the migrations protects it', async () => {
      const on = await opened(fresh())
      const [a, b, made] = [scope(), scope(), migration(ITEMS)]
      await migrate(on, a, made)
      const schema = `rls_${migrationNumber - 1}`
      await on.admin.query(`create table "${schema}".by_hand (tenant_id uuid, id int)`)
      await on.admin.query(`insert into "${schema}".by_hand values ('${a.tenantId}', 1)`)
      expect(await codeOf(rows(on, b, 'select * from by_hand'))).toBe('42501')
      await migrate(on, b, made)
      expect(await rows(on, b, 'select * from by_hand')).toEqual([])
      expect(await rows(on, a, 'select id from by_hand')).toEqual([{ id: 1 }])
      await on.close()
    })

    it('lets a tenant draw from a shared sequence, and not set it', async () => {
      const on = await opened(fresh())
      const tenant = scope()
      await migrate(on, tenant, migration(`create table counted (${TENANT}, id serial, primary key (tenant_id, id))`))
      expect(await rows(on, tenant, 'insert into counted default values returning id')).toEqual([{ id: 1 }])
      expect(await codeOf(rows(on, tenant, `select setval('counted_id_seq', 1)`))).toBe('42501')
      await on.close()
    })

    it('replaces a policy of an older rule', async () => {
      const on = await opened(fresh())
      const [tenant, made] = [scope(), migration(ITEMS)]
      await migrate(on, tenant, made)
      const schema = `rls_${migrationNumber - 1}`
      await on.admin.query(`create policy tenancy_permit_old on "${schema}".items using (true)`)
      await migrate(on, tenant, made)
      const names = await on.admin.query<{ polname: string }>(
        `select polname::text from pg_policy where polrelid = '"${schema}".items'::regclass order by 1`,
      )
      expect(names.map(({ polname }) => polname)).toEqual([
        expect.stringMatching(/^tenancy_permit_[0-9a-f]{12}$/),
        expect.stringMatching(/^tenancy_restrict_[0-9a-f]{12}$/),
      ])
      await on.close()
    })

    it('is not widened by a policy of the application', async () => {
      const on = await opened(fresh())
      const [a, b, made] = [
        scope(),
        scope(),
        migration(ITEMS, 'create policy everybody on items using (true) with check (true)'),
      ]
      await migrate(on, a, made)
      await rows(on, a, `insert into items (id, owner) values (1, 'a')`)
      expect(await rows(on, b, 'select * from items')).toEqual([])
      expect(await codeOf(rows(on, b, `insert into items values ('${a.tenantId}', 2, 'b')`))).toBe('42501')
      await on.close()
    })

    it.each([
      [
        'a table without a tenant',
        ['create table plans (id int)'],
        /table plans has no column tenant_id; `tenantKeys\(\)` makes it, or `tenantColumn`/,
      ],
      ['a tenant of a strange type', ['create table t (tenant_id inet)'], /tenant_id of the table t is inet/],
      [
        'a foreign key without the tenant',
        [
          'create table p (tenant_id uuid, id int unique)',
          'create table c (tenant_id uuid, p_id int references p (id))',
        ],
        /foreign key c_p_id_fkey from c to p could refer to a row of another tenant/,
      ],
    ])('[W10] refuses %s, and nothing of the migration stays', async (_what, statements, message) => {
      const on = await opened(fresh())
      const run = migrate(on, scope(), migration(...statements))
      await expect(run).rejects.toMatchObject({
        code: 'TENANCY_ERR_RLS_UNPROTECTABLE',
        message: expect.stringMatching(message) as string,
      })
      const [found] = await on.admin.query('select 1 from pg_namespace where nspname = $1', [
        `rls_${migrationNumber - 1}`,
      ])
      expect(found).toBeUndefined()
      await on.close()
    })

    it('refuses a function with the rights of its owner, which somebody made by hand', async () => {
      const on = await opened(fresh())
      const made = migration(ITEMS)
      await migrate(on, scope(), made)
      await on.admin.query(
        `create function "rls_${migrationNumber - 1}".peek() returns bigint language sql security definer as 'select 1::bigint'`,
      )
      await expect(migrate(on, scope(), made)).rejects.toMatchObject({
        code: 'TENANCY_ERR_RLS_UNPROTECTABLE',
        message: expect.stringContaining('peek') as string,
      })
      await on.close()
    })

    it('closes views, materialized views and partitions', async () => {
      const on = await opened(fresh())
      const [a, b] = [scope(), scope()]
      await migrate(
        on,
        a,
        migration(
          ITEMS,
          'create view all_items as select * from items',
          'create materialized view totals as select count(*) from items',
          `create table parted (${TENANT}, at int not null) partition by range (at)`,
          'create table parted_1 partition of parted for values from (0) to (10)',
        ),
      )
      await rows(on, a, `insert into items (id, owner) values (1, 'a')`)
      await rows(on, a, 'insert into parted (at) values (1)')
      expect(await rows(on, b, 'select * from all_items')).toEqual([])
      expect(await codeOf(rows(on, b, 'select * from totals'))).toBe('42501')
      expect(await rows(on, b, 'select * from parted')).toEqual([])
      expect(await rows(on, b, 'select * from parted_1')).toEqual([])
      expect(await rows(on, a, 'select at from parted_1')).toEqual([{ at: 1 }])
      await on.close()
    })

    it('[W20] destroys exactly the rows of one tenant: chunks, circles, partitions, parents last', async () => {
      const on = await opened(fresh())
      const [a, b] = [scope(), scope()]
      const composite = (table: string, column: string) =>
        `foreign key (tenant_id, ${column}) references ${table} (tenant_id, id)`
      await migrate(
        on,
        a,
        migration(
          `create table companies (${TENANT}, id int, ceo int, primary key (tenant_id, id))`,
          `create table people (${TENANT}, id int, company int not null, boss int, primary key (tenant_id, id), ${composite('companies', 'company')}, ${composite('people', 'boss')})`,
          `alter table companies add ${composite('people', 'ceo')} deferrable`,
          `create table notes (${TENANT}, id int, person int not null, primary key (tenant_id, id), ${composite('people', 'person')})`,
        ),
      )
      const fill = async (tenant: Scope, notes: number) => {
        await rows(on, tenant, 'insert into companies (id) values (1)')
        await rows(
          on,
          tenant,
          'insert into people (id, company, boss) select n, 1, case when n > 1 then 1 end from generate_series(1, 50) n',
        )
        await rows(on, tenant, 'update companies set ceo = 1')
        await rows(
          on,
          tenant,
          `insert into notes (id, person) select n, 1 + n % 50 from generate_series(1, ${notes}) n`,
        )
      }
      await fill(a, 12_000)
      await fill(b, 10)
      expect(await on.destroy(a)).toEqual({ objects: 0, rows: 12_051 })
      expect(await on.destroy(a)).toEqual({ objects: 0, rows: 0 })
      expect(await rows(on, a, 'select * from people')).toEqual([])
      expect(
        await rows(
          on,
          b,
          'select (select count(*) from notes)::int n, (select count(*) from people)::int p, (select count(*) from companies)::int c',
        ),
      ).toEqual([{ n: 10, p: 50, c: 1 }])
      await on.close()
    })

    it('[W2] a tenant with a schema and one with shared rows see only themselves, both ways', async () => {
      const on = await opened({ ...fresh(), strategies: ['rls', 'schema'] })
      const [standard, premium] = [scope(), placedScope(namespaceStrategy('schema'))]
      await migrate(on, standard, migration(ITEMS))
      await migrate(on, premium, migration('create table items (id int primary key, owner text not null)'))
      await rows(on, standard, `insert into items (id, owner) values (1, 'standard')`)
      expect(await rows(on, premium, 'select * from items')).toEqual([])
      await rows(on, premium, `insert into items (id, owner) values (1, 'premium')`)
      expect(await rows(on, standard, 'select owner from items')).toEqual([{ owner: 'standard' }])
      expect(await rows(on, premium, 'select owner from items')).toEqual([{ owner: 'premium' }])
      await on.destroy(premium)
      expect(await rows(on, standard, 'select owner from items')).toEqual([{ owner: 'standard' }])
      await on.close()
    })

    it('[W10] refuses to serve as superuser, with BYPASSRLS, as the admin role or a member of it', async () => {
      const refused = async (url: string) => {
        const failing = testServer(database, { url, strategies: ['rls'] })
        await expect(failing.open()).rejects.toMatchObject({ code: 'TENANCY_ERR_RLS_BYPASSED' })
        // Every other strategy only warns.
        const warning = testServer(database, { url, strategies: ['schema'] })
        expect((await warning.open()).length).toBeGreaterThan(0)
        await warning.close()
      }
      await refused(database.superUrl)
      await refused(database.adminUrl)
      const alter = (text: string) => asSuperuser(database, (client) => client.query(text))
      await alter(`alter role ${database.appRole} bypassrls`)
      await refused(database.appUrl)
      await alter(`alter role ${database.appRole} nobypassrls; grant ${database.ownerRole} to ${database.appRole}`)
      await refused(database.appUrl)
      await alter(`revoke ${database.ownerRole} from ${database.appRole}`)
      const fine = await opened()
      await fine.close()
    })

    it('does not take a schema that is there for its own', async () => {
      await server.admin.query('create schema taken')
      const on = await opened({ shared: { ...sharedSchemas, rlsSchema: 'taken' } })
      const run = migrate(on, { ...scope(), tenantId: randomUUID() }, migration(ITEMS))
      await expect(run).rejects.toMatchObject({ code: 'TENANCY_ERR_NAMESPACE_EXISTS' })
      await on.close()
    })
  })
}

describe('childrenFirst', () => {
  it('puts every table after all that refer to it, and circles together', () => {
    const keys = [
      { child: 'notes', parent: 'people' },
      { child: 'people', parent: 'companies' },
      { child: 'companies', parent: 'people' },
      { child: 'people', parent: 'people' },
      { child: 'companies', parent: 'countries' },
    ]
    const groups = childrenFirst(['companies', 'countries', 'notes', 'people', 'alone'], keys)
    expect(groups[0]).toEqual(['notes'])
    expect(groups[1]).toEqual(['companies', 'people'])
    expect(groups.slice(2).flat().sort()).toEqual(['alone', 'countries'])
  })
})
