import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { verifyRls } from '../../src/dialects/postgres/rls/verify.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase, open, testServer } from '../support/database.ts'
import { ITEMS, type RlsBed, rlsBed } from '../support/rls.ts'

const OURS = (table: string) =>
  `(select polname::text as name, polpermissive as permissive from pg_policy where polrelid = '${table}'::regclass and polname ^@ 'tenancy_')`

/** Runs `statement` for each of our policies of a table; `%I` is the policy, `%2$s` the table. */
const eachPolicy = (table: string, statement: string, where = 'true') =>
  `do $$ declare one record; begin for one in select * from ${OURS(table)} ours where ${where} loop
     execute format('${statement}', one.name, '${table}'); end loop; end $$`

/** Ways to break it, run as superuser, and the checks that must find out. `s` is the shared schema. */
const breakages: Record<string, { text: (s: string, app: string) => string; red: readonly string[] }> = {
  'the restrictive policy is dropped': {
    text: (s) => eachPolicy(`${s}.items`, 'drop policy %I on %2$s', 'not permissive'),
    red: ['policies'],
  },
  'the restrictive policy is dropped and another permissive one is added': {
    text: (s) =>
      `${eachPolicy(`${s}.items`, 'drop policy %I on %2$s', 'not permissive')}; create policy all_of_it on ${s}.items using (true)`,
    red: ['policies', 'rows of the application'],
  },
  'a policy of ours has another rule under its old name': {
    text: (s) => eachPolicy(`${s}.items`, 'alter policy %I on %2$s using (true) with check (true)'),
    red: ['policies', 'rows of the application'],
  },
  'nobody but somebody is bound by the policies': {
    text: (s) => eachPolicy(`${s}.items`, 'alter policy %I on %2$s to postgres', 'not permissive'),
    red: ['policies'],
  },
  'row security is off': {
    text: (s) => `alter table ${s}.items disable row level security`,
    red: ['enabled', 'rows of the application'],
  },
  'the owner is not bound': { text: (s) => `alter table ${s}.items no force row level security`, red: ['forced'] },
  'the serving role owns a table': {
    text: (s, app) => `alter table ${s}.items owner to ${app}`,
    red: ['serving role', 'owner', 'rights'],
  },
  'a tenant can be null': { text: (s) => `alter table ${s}.loose alter tenant_id drop not null`, red: ['required'] },
  'a table has no tenant': {
    text: (s, app) => `create table ${s}.plain (id int); grant select on ${s}.plain to ${app}`,
    red: ['tenant column'],
  },
  'a foreign key has no tenant': {
    text: (s) =>
      `create unique index on ${s}.items (id); alter table ${s}.loose add foreign key (item) references ${s}.items (id)`,
    red: ['foreign keys'],
  },
  'a view has the rights of its owner': {
    text: (s) => `create view ${s}.peek as select * from ${s}.items`,
    red: ['views'],
  },
  'a view of a view in another schema has the rights of its owner': {
    text: (s, app) =>
      `create view ${s}.fine with (security_invoker = true) as select * from ${s}.items;
       create or replace view extensions.peek as select * from ${s}.fine; grant select (owner) on extensions.peek to ${app}`,
    red: ['views'],
  },
  'a materialized view can be read': {
    text: (s, app) => `create materialized view ${s}.m as select * from ${s}.items; grant select on ${s}.m to ${app}`,
    red: ['materialized views'],
  },
  'a function has the rights of its owner': {
    text: (s) =>
      `create function ${s}.peek() returns bigint language sql security definer as 'select count(*) from ${s}.items'`,
    red: ['functions'],
  },
  'a rule writes with the rights of the owner': {
    text: (s) => `create rule tell as on insert to ${s}.items do also notify told`,
    red: ['rules'],
  },
  'a partition is in another schema': {
    text: (s) =>
      `create table ${s}.parted (tenant_id uuid not null, at int) partition by range (at); create schema elsewhere;
       create table elsewhere.part partition of ${s}.parted for values from (0) to (9)`,
    red: ['enabled', 'forced', 'policies', 'other tables'],
  },
  'the canary has no restrictive policy and a permissive one too many': {
    text: (s) =>
      `${eachPolicy(`${s}.__tenancy_canary`, 'drop policy %I on %2$s', 'not permissive')}; create policy p on ${s}.__tenancy_canary using (true)`,
    red: [
      'policies',
      ...['read', 'update', 'delete', 'insert', 'upsert', 'move a row'].map((name) => `another tenant: ${name}`),
      ...['read', 'update', 'delete', 'insert', 'insert for a tenant'].map((name) => `no tenant: ${name}`),
    ],
  },
  'what is written is not checked': {
    text: (s) => eachPolicy(`${s}.__tenancy_canary`, 'alter policy %I on %2$s with check (true)'),
    // A row that is moved must still be visible, whatever may be written.
    red: [
      'policies',
      'another tenant: insert',
      ...['insert', 'insert for a tenant'].map((name) => `no tenant: ${name}`),
    ],
  },
  'the canary may be truncated': {
    text: (s, app) => `grant truncate on ${s}.__tenancy_canary to ${app}`,
    red: ['rights', 'another tenant: truncate'],
  },
  'the canary can be referred to without a tenant': {
    text: (s) =>
      `alter table ${s}.__tenancy_canary drop constraint __tenancy_canary_tenant_id_parent_fkey;
       create unique index on ${s}.__tenancy_canary (id); alter table ${s}.__tenancy_canary add foreign key (parent) references ${s}.__tenancy_canary (id)`,
    red: ['foreign keys', 'another tenant: refer to it'],
  },
  'the policies let nothing through': {
    text: (s) => eachPolicy(`${s}.__tenancy_canary`, 'alter policy %I on %2$s using (false)'),
    red: [
      'policies',
      'another tenant: move a row',
      ...['read', 'update', 'delete'].map((name) => `its own tenant: ${name}`),
    ],
  },
}

for (const name of ['postgres15', 'postgres18'] as const) {
  const bouncer = name === 'postgres15' ? 'pgbouncer15' : 'pgbouncer18'
  describeWith([name, bouncer], `[W10] [W52] verify on ${name}`, (servers) => {
    let database: TestDatabase
    const red = new Set<string>()
    beforeAll(async () => {
      database = await baselineDatabase(servers[name].url)
    })
    afterAll(() => database?.drop())
    afterEach(() => admin(`alter role ${database.appRole} nosuperuser nobypassrls login`))

    const bed = async (options?: Parameters<typeof rlsBed>[2]): Promise<RlsBed> => {
      const made = await rlsBed(
        database,
        [ITEMS, 'create table loose (tenant_id uuid, item int, email text unique)'],
        options,
      )
      await made.rows(made.a, `insert into items (id, owner) values (1, 'a')`)
      return made
    }
    const admin = (text: string) => asSuperuser(database, (client) => client.query(text))
    const failed = async (server: Parameters<typeof verifyRls>[0], { shared }: Pick<RlsBed, 'shared'>) => {
      const report = await verifyRls(server, shared)
      const names = report.checks.filter(({ ok }) => !ok).map((check) => check.name)
      expect(report.ok).toBe(names.length === 0)
      for (const one of names) red.add(one)
      return names
    }

    it('is green where it holds, warns of what tells too much, and leaves nothing behind', async () => {
      const one = await bed()
      const report = await verifyRls(one.server, one.shared)
      expect(report.checks.filter(({ ok }) => !ok)).toEqual([])
      expect(report.warnings).toEqual([expect.stringContaining('loose_email_key of loose has no tenant_id')])
      const state = () =>
        one.server.admin.query(
          `select c.relname, c.xmin::text, (select count(*) from pg_policy where polrelid = c.oid) from pg_class c where relnamespace = $1::regnamespace order by 1`,
          [one.schema],
        )
      const before = await state()
      await Promise.all([verifyRls(one.server, one.shared), verifyRls(one.server, one.shared)])
      expect(await state()).toEqual(before)
      const left = await asSuperuser(database, (client) =>
        client.query(
          `select (select count(*) from ${one.schema}.__tenancy_canary)::int canary, (select count(*) from ${one.schema}.items)::int items`,
        ),
      )
      expect(left.rows).toEqual([{ canary: 0, items: 1 }])
      // The canary is one more table of the shared schema, and no obstacle.
      await one.migrate()
      expect(await one.server.destroy(one.a)).toEqual({ objects: 0, rows: 1 })
      await one.server.close()
    })

    it('is green through a pooler too', async () => {
      const one = await bed({ url: withPort(database.appUrl, servers[bouncer].port), pooled: true })
      expect(await failed(one.server, one)).toEqual([])
      await one.server.close()
    })

    it('cannot vouch for a schema that is not there or is not ours', async () => {
      const one = await bed()
      const missing = { ...one.shared, rlsSchema: 'nowhere' }
      expect(await failed(one.server, { shared: missing })).toEqual(['shared schema'])
      await admin('create schema nowhere')
      expect(await failed(one.server, { shared: missing })).toEqual(['shared schema'])
      await admin('drop schema nowhere')
      await one.server.close()
    })

    describe('goes red when', () => {
      it.each(Object.entries(breakages))('%s', async (_what, { text, red: expected }) => {
        const one = await bed()
        // The canary is there before it is broken.
        expect(await failed(one.server, one)).toEqual([])
        await admin(text(one.schema, database.appRole))
        const found = await failed(one.server, one)
        expect(found.toSorted()).toEqual([...expected].sort())
        await admin(`drop schema ${one.schema} cascade; drop schema if exists elsewhere cascade`)
        await one.server.close()
      })

      it.each(['bypassrls', 'superuser'])('the serving role has %s', async (attribute) => {
        const one = await bed()
        await failed(one.server, one)
        await admin(`alter role ${database.appRole} ${attribute}`)
        expect(await failed(one.server, one)).toEqual(
          expect.arrayContaining([
            'serving role',
            'rows of the application',
            'another tenant: read',
            'no tenant: delete',
            'another tenant: insert',
          ]),
        )
        await one.server.close()
      })

      it('the admin role serves, and more so when it is not bound either', async () => {
        const one = await bed()
        const owner = testServer(database, { url: database.adminUrl, shared: one.shared })
        await owner.open()
        const own = ['another tenant: switch policies off', 'another tenant: truncate', 'serving role']
        expect((await failed(owner, one)).toSorted()).toEqual(own)
        await admin(
          `alter table ${one.schema}.items no force row level security; alter table ${one.schema}.__tenancy_canary no force row level security`,
        )
        expect(await failed(owner, one)).toEqual(
          expect.arrayContaining([...own, 'forced', 'rows of the application', 'another tenant: read']),
        )
        await owner.close()
        await one.server.close()
      })

      it('the tenant does not travel, or is that of whoever came last', async () => {
        const one = await bed()
        const with_ = (
          settingsOf: (scope: Scope) => Scope['settings'],
        ): Pick<DatabaseServer, 'admin' | 'client' | 'lazyTransaction'> => ({
          admin: one.server.admin,
          client: (scope, guard) => one.server.client({ ...scope, settings: settingsOf(scope) }, guard),
          lazyTransaction: (scope, guard) =>
            one.server.lazyTransaction({ ...scope, settings: settingsOf(scope) }, guard),
        })
        expect(
          await failed(
            with_(() => ({})),
            one,
          ),
        ).toContain('setting')
        let last: Scope['settings'] = {}
        const remembering = with_((scope) => (Object.keys(scope.settings).length > 0 ? (last = scope.settings) : last))
        expect(await failed(remembering, one)).toContain('setting')
        await one.server.close()
      })
    })

    it('has seen every check red', async () => {
      const one = await bed()
      const { checks } = await verifyRls(one.server, one.shared)
      // These are warnings and never more.
      const never = ['default', 'index', 'grants', 'unique keys']
      expect(checks.map((check) => check.name).filter((check) => !red.has(check))).toEqual(never)
      await one.server.close()
    })

    it('does not mistake an exhausted pool, a refused login or a lost server for a breach', async () => {
      const one = await bed({ poolSize: 1, poolTimeout: 1 })
      await failed(one.server, one)
      const holding = one.server.lazyTransaction(one.a, open)
      await (holding.client as { query(text: string): Promise<unknown> }).query('select 1')
      await expect(verifyRls(one.server, one.shared)).rejects.toMatchObject({ code: 'TENANCY_ERR_POOL_TIMEOUT' })
      await holding.rollback()
      await admin(`alter role ${database.appRole} nologin`)
      await admin(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${database.appRole}'`)
      await expect(verifyRls(one.server, one.shared)).rejects.toMatchObject({
        code: 'TENANCY_ERR_DATABASE_UNAVAILABLE',
      })
      await admin(`alter role ${database.appRole} login`)
      expect(await failed(one.server, one)).toEqual([])
      await one.server.close()
    })
  })
}
