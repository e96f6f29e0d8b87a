import { afterAll, beforeAll, expect, it } from 'vitest'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, placedScope, sharedSchemas, testServer } from '../support/database.ts'
import { codeOf, ITEMS, migrationOf, type RlsBed, rlsBed } from '../support/rls.ts'

for (const name of ['postgres15', 'postgres18'] as const) {
  describeWith([name], `what row-level security repairs and refuses on ${name}`, (servers) => {
    let database: TestDatabase
    beforeAll(async () => {
      database = await baselineDatabase(servers[name].url)
    })
    afterAll(() => database?.drop())

    const admin = <T = Record<string, unknown>>(text: string) =>
      asSuperuser(database, async (client) => (await client.query(text)).rows as T[])
    const within = async (statements: readonly string[], work: (bed: RlsBed) => Promise<void>) => {
      const bed = await rlsBed(database, statements)
      try {
        await work(bed)
      } finally {
        await bed.server.close()
        await admin(`drop schema ${bed.schema} cascade`)
      }
    }
    /** Policies, tables and rights of a schema, with the transactions that last touched them. */
    const state = (schema: string) =>
      admin(
        `select c.relname, c.xmin::text, c.relacl::text, p.oid, p.xmin::text as policy, a.xmin::text as column from pg_class c
         left join pg_policy p on p.polrelid = c.oid left join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
         where c.relnamespace = '${schema}'::regnamespace order by 1, 4`,
      )

    it('makes a policy of ours anew when somebody gave it another rule, role or command under its old name', () =>
      within([ITEMS], async ({ schema, rows, a, b, migrate }) => {
        await rows(a, `insert into items (id, owner) values (1, 'a')`)
        const names = (
          await admin<{ polname: string }>(
            `select polname from pg_policy where polrelid = '${schema}.items'::regclass order by 1`,
          )
        ).map(({ polname }) => polname)
        for (const change of ['using (true)', 'with check (true)', 'to postgres']) {
          for (const policy of names) await admin(`alter policy ${policy} on ${schema}.items ${change}`)
          if (change === 'using (true)') expect(await rows(b, 'select owner from items')).toEqual([{ owner: 'a' }])
          await migrate()
          expect(await rows(b, 'select owner from items')).toEqual([])
          expect(await rows(a, 'select owner from items')).toEqual([{ owner: 'a' }])
          expect(await codeOf(rows(b, `insert into items (tenant_id, id) values ('${a.tenantId}', 2)`))).toBe('42501')
        }
        const [permit = '', restrict = ''] = names
        await admin(
          `drop policy ${restrict} on ${schema}.items; create policy ${restrict} on ${schema}.items as restrictive for delete using (true)`,
        )
        await migrate()
        const policies = await admin<{ polname: string; polcmd: string; polpermissive: boolean }>(
          `select polname, polcmd, polpermissive from pg_policy where polrelid = '${schema}.items'::regclass order by 1`,
        )
        expect(policies).toEqual([
          { polname: permit, polcmd: '*', polpermissive: true },
          { polname: restrict, polcmd: '*', polpermissive: false },
        ])
      }))

    it('undoes what a migration does to its policies, in the same transaction', () =>
      within([ITEMS], async ({ schema, rows, a, b, migrate }) => {
        await rows(a, `insert into items (id, owner) values (1, 'a')`)
        const [policy] = await admin<{ polname: string }>(
          `select polname from pg_policy where polrelid = '${schema}.items'::regclass and not polpermissive`,
        )
        await migrate(
          // As drizzle-kit writes them for pgPolicy() and for its removal.
          migrationOf(
            'CREATE POLICY "all" ON "items" AS PERMISSIVE FOR ALL TO public USING (true) WITH CHECK (true);',
            `ALTER POLICY "${policy?.polname}" ON "items" TO public USING (true);`,
            'ALTER TABLE "items" DISABLE ROW LEVEL SECURITY;',
          ),
        )
        expect(await rows(b, 'select owner from items')).toEqual([])
        expect(await rows(a, 'select owner from items')).toEqual([{ owner: 'a' }])
      }))

    it('changes nothing when there is nothing to change, with every type and kind of table', () =>
      within(
        [
          ITEMS,
          'create table texts (tenant_id text, id int)',
          'create table varchars (tenant_id varchar(40), id int)',
          'create table parted (tenant_id uuid, at int) partition by range (at)',
          'create table parted_1 partition of parted for values from (0) to (10)',
          'create table heirs () inherits (items)',
          'create view seen as select * from items',
        ],
        async ({ schema, rows, a, b, migrate }) => {
          for (const table of ['texts', 'varchars']) {
            await rows(a, `insert into ${table} (id) values (1)`)
            expect(await rows(a, `select tenant_id, id from ${table}`)).toEqual([{ tenant_id: a.tenantId, id: 1 }])
            expect(await rows(b, `select * from ${table}`)).toEqual([])
          }
          await admin(`grant all on ${schema}.items to ${database.appRole}, public`)
          await migrate()
          const before = await state(schema)
          expect(before.length).toBeGreaterThan(10)
          await migrate()
          expect(await state(schema)).toEqual(before)
          const excess = await admin(
            `select c.relname, g.privilege_type from pg_class c, aclexplode(c.relacl) g
             where c.relnamespace = '${schema}'::regnamespace and c.relkind in ('r', 'p') and g.grantee <> c.relowner
               and g.privilege_type not in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')`,
          )
          expect(excess).toEqual([])
          // A partition gets the index of its parent, and no second one.
          expect(await admin(`select 1 from pg_index where indrelid = '${schema}.parted_1'::regclass`)).toHaveLength(1)
        },
      ))

    it('[W10] refuses a serving role that could become one which policies do not bind', () =>
      within([ITEMS], async ({ schema, shared }) => {
        const { appRole, ownerRole } = database
        const refused = async (reason: string) => {
          const server = testServer(database, { strategies: ['rls'], shared })
          await expect(server.open()).rejects.toMatchObject({
            code: 'TENANCY_ERR_RLS_BYPASSED',
            message: expect.stringContaining(reason) as string,
          })
        }
        const strong = `strong_${appRole}`
        for (const attribute of ['bypassrls', 'superuser']) {
          await admin(`create role ${strong} ${attribute} noinherit; grant ${strong} to ${appRole}`)
          await refused(`it is a member of ${strong}`)
          await admin(`drop role ${strong}`)
        }
        await admin(`grant pg_read_server_files to ${appRole}`)
        await refused('it is a member of pg_read_server_files')
        await admin(`revoke pg_read_server_files from ${appRole}`)
        for (const attribute of ['createrole', 'replication']) {
          await admin(`alter role ${appRole} ${attribute}`)
          await refused(`it has ${attribute.toUpperCase()}`)
          await admin(`alter role ${appRole} no${attribute}`)
        }
        await admin(`alter table ${schema}.items owner to ${appRole}`)
        await refused('it owns tables of the shared schema')
        await admin(`alter table ${schema}.items owner to ${ownerRole}`)
        const fine = testServer(database, { strategies: ['rls'], shared })
        expect(await fine.open()).toEqual([])
        await fine.close()
      }))

    it('refuses views elsewhere with the rights of an owner, and lets those be that the serving role cannot read', () =>
      within([ITEMS], async ({ schema, rows, a, b, migrate }) => {
        await rows(a, `insert into items (id, owner) values (1, 'a')`)
        await admin(`create view extensions.peek as select * from ${schema}.items`)
        await migrate()
        await admin(`grant select on extensions.peek to ${database.appRole}`)
        // What it would show: the owner is a superuser.
        expect(await rows(b, 'select owner from peek')).toEqual([{ owner: 'a' }])
        await expect(migrate()).rejects.toMatchObject({
          code: 'TENANCY_ERR_RLS_UNPROTECTABLE',
          message: expect.stringContaining('the view extensions.peek') as string,
        })
        await admin('alter view extensions.peek set (security_invoker = true)')
        await migrate()
        expect(await rows(b, 'select owner from peek')).toEqual([])
      }))

    it('refuses a rule, and a materialized view whose rights it cannot take', () =>
      within([ITEMS], async ({ schema, migrate }) => {
        const refuses = (message: string) =>
          expect(migrate()).rejects.toMatchObject({
            code: 'TENANCY_ERR_RLS_UNPROTECTABLE',
            message: expect.stringContaining(message) as string,
          })
        await admin(`create rule tell as on insert to ${schema}.items do also notify told`)
        await refuses('the rule tell')
        await admin(`drop rule tell on ${schema}.items`)
        await migrate()
        const group = `group_${database.appRole}`
        await admin(
          `create role ${group}; grant ${group} to ${database.appRole}; create materialized view ${schema}.totals as select count(*) from ${schema}.items;
           alter materialized view ${schema}.totals owner to ${database.ownerRole}; grant select on ${schema}.totals to ${group}`,
        )
        await refuses('the materialized view totals')
        await admin(`drop materialized view ${schema}.totals; drop role ${group}`)
        await migrate()
      }))

    it('refuses to refer to the row of another tenant, and to overwrite it by a conflict', () =>
      within(
        [
          ITEMS,
          'create table parts (tenant_id uuid not null, id int, item int, sku text unique, primary key (tenant_id, id), foreign key (tenant_id, item) references items (tenant_id, id) on delete cascade)',
        ],
        async ({ rows, a, b }) => {
          await rows(a, `insert into items (id, owner) values (1, 'a')`)
          await rows(a, `insert into parts (id, item, sku) values (1, 1, 'x')`)
          expect(await codeOf(rows(b, 'insert into parts (id, item) values (1, 1)'))).toBe('23503')
          // A unique key without the tenant tells that there is such a row (a warning of verify), and does not give it away.
          expect(await codeOf(rows(b, `insert into parts (id, sku) values (2, 'x')`))).toBe('23505')
          const upsert = `insert into parts (id, sku) values (2, 'x') on conflict (sku) do update set id = 99 returning id`
          expect(await codeOf(rows(b, upsert))).toBe('42501')
          expect(
            await rows(b, `insert into parts (id, sku) values (2, 'x') on conflict do nothing returning id`),
          ).toEqual([])
          await rows(b, `insert into items (id, owner) values (1, 'b')`)
          await rows(b, 'insert into parts (id, item) values (1, 1)')
          await rows(b, 'delete from items')
          expect(await rows(b, 'select * from parts')).toEqual([])
          expect(await rows(a, 'select id, item, sku from parts')).toEqual([{ id: 1, item: 1, sku: 'x' }])
        },
      ))

    it('a tenant whose migration fails leaves the shared schema and everybody else’s rows as they were', () =>
      within([ITEMS], async ({ server, schema, rows, a, migrate }) => {
        await rows(a, `insert into items (id, owner) values (1, 'a')`)
        const before = await state(schema)
        await expect(migrate(migrationOf('create table more (tenant_id uuid)', 'select 1/0'))).rejects.toMatchObject({
          code: 'TENANCY_ERR_MIGRATION_FAILED',
        })
        const scope = placedScope(rlsStrategy())
        const failing = server.inNamespace(scope, async (session) => {
          expect(await session.ensure()).toBe(false)
          throw new TypeError('the registration fails')
        })
        await expect(failing).rejects.toThrow('the registration fails')
        expect(await state(schema)).toEqual(before)
        expect(await rows(a, 'select owner from items')).toEqual([{ owner: 'a' }])
      }))

    it('two first tenants at once make one schema', async () => {
      const shared = { ...sharedSchemas, rlsSchema: 'raced' }
      const server = testServer(database, { strategies: ['rls'], shared, poolSize: 10 })
      await server.open()
      const migrations = [migrationOf(ITEMS)]
      const runs = Array.from({ length: 8 }, () =>
        migrateNamespace({ server, scope: placedScope(rlsStrategy()), migrations }),
      )
      const reports = await Promise.all(runs)
      expect(reports.filter(({ created }) => created)).toHaveLength(1)
      expect(reports.filter(({ applied }) => applied.length === 1)).toHaveLength(1)
      await server.close()
    })

    it('[W20] destroys from partitions in chunks, past tables without a tenant', () =>
      within(
        [
          'create table parted (tenant_id uuid not null, at int) partition by range (at)',
          'create table parted_1 partition of parted for values from (0) to (6000)',
          'create table parted_2 partition of parted for values from (6000) to (20000)',
        ],
        async ({ server, schema, rows, a, b }) => {
          for (const tenant of [a, b])
            await rows(tenant, 'insert into parted (at) select n from generate_series(0, 11999) n')
          await admin(`create table ${schema}.plain (id int)`)
          expect(await server.destroy(a)).toEqual({ objects: 0, rows: 12_000 })
          expect(await rows(b, 'select count(*)::int as n from parted')).toEqual([{ n: 12_000 }])
        },
      ))

    it('[W20] tells when something keeps a row, and leaves a schema alone that is not ours', () =>
      within([ITEMS], async ({ server, schema, rows, a }) => {
        await rows(a, `insert into items (id, owner) values (1, 'a')`)
        await admin(
          `create table extensions.keeper (tenant_id uuid, id int, foreign key (tenant_id, id) references ${schema}.items);
           insert into extensions.keeper values ('${a.tenantId}', 1)`,
        )
        await expect(server.destroy(a)).rejects.toMatchObject({ code: 'TENANCY_ERR_DESTROY_INCOMPLETE' })
        await admin('drop table extensions.keeper')
        await admin(
          `create function ${schema}.keep() returns trigger language plpgsql as 'begin return null; end';
           create trigger keep before delete on ${schema}.items for each row execute function ${schema}.keep()`,
        )
        await expect(server.destroy(a)).rejects.toMatchObject({
          code: 'TENANCY_ERR_DESTROY_INCOMPLETE',
          message: expect.stringContaining('1 rows are left') as string,
        })
        await admin(`drop trigger keep on ${schema}.items; comment on schema ${schema} is 'mine'`)
        await expect(server.destroy(a)).rejects.toMatchObject({ code: 'TENANCY_ERR_NAMESPACE_EXISTS' })
        expect(await admin(`select id from ${schema}.items`)).toEqual([{ id: 1 }])
      }))
  })
}
