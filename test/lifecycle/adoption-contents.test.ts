import { sql } from 'drizzle-orm'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { db, itemsMigration, migrationsOf, namesIn } from '../faults/fixture.ts'
import type { TenancyOptions } from '../../src/index.ts'
import { tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const REFUSED = 'TENANCY_ERR_ADOPTION_REFUSED'
const adopt = { namespace: 'old', baseline: '20260101000001_step' }
const table = 'create table items (id serial primary key, name text not null unique, parent integer)'
const fn = (body: string, returns = 'text') =>
  `create function f(q text) returns ${returns} language plpgsql as 'begin ${body} end'`

/** What must not come in, as the owner of the schema makes it, and what the refusal says. `outside` is done by a superuser. */
const refused: Readonly<Record<string, { more?: string; outside?: string; undo?: string; says: RegExp }>> = {
  'a function that runs text': { more: fn('execute q; return q;'), says: /function f\(text\) .*EXECUTE of text/ },
  'a query of text': { more: fn('return query execute q;', 'setof text'), says: /EXECUTE of text/ },
  'a loop over text': { more: fn('for q in execute q loop end loop; return q;'), says: /EXECUTE of text/ },
  'a procedure that runs text': {
    more: `create procedure p(q text) language plpgsql as 'begin execute q; end'`,
    says: /p\(text\) .*EXECUTE of text/,
  },
  'text given to the database': {
    more: fn('return query_to_xml(q, true, true, $$$$);').replace("as '", 'as $b$').replace("end'", 'end $b$'),
    says: /query_to_xml/,
  },
  'a SET of the path': { more: fn('set search_path = old; return q;'), says: /SET search_path/ },
  'a SET of the role': { more: fn('set local role other; return q;'), says: /SET role/ },
  'a RESET': { more: fn('reset search_path; return q;'), says: /RESET|begins with reset/i },
  'a setting of the function': {
    more: `create function f() returns text language sql set "role" from current as 'select name from items'`,
    says: /SET role/i,
  },
  set_config: {
    more: fn('return set_config($$role$$, q, false);').replace("as '", 'as $b$').replace("end'", 'end $b$'),
    says: /set_config/,
  },
  'set_config in SQL': {
    more: `create function f(q text) returns text language sql as $$ select pg_catalog.set_config('role', q, false) $$`,
    says: /set_config/,
  },
  'set_config as an aggregate': {
    more: `create aggregate become(text, boolean) (sfunc = set_config, stype = text, initcond = 'role')`,
    says: /become.*set_config/,
  },
  'set_config in a view': {
    more: `create view v as select set_config('role', name, false) from items`,
    says: /set_config/,
  },
  'set_config in a materialized view': {
    more: `create materialized view v as select set_config('role', name, false) from items with no data`,
    says: /set_config/,
  },
  'set_config in a default': {
    more: `alter table items add column note text default set_config('role', current_user, false)`,
    says: /default value .*set_config/,
  },
  'set_config in a check': {
    more: `alter table items add constraint c check (set_config('role', name, false) <> '') not valid`,
    says: /constraint c .*set_config/,
  },
  'set_config in a domain': {
    more: `create domain d as text default set_config('role', current_user, false)`,
    says: /set_config/,
  },
  'set_config in the check of a domain': {
    more: `create domain d as text check (set_config('role', value, false) <> '')`,
    says: /set_config/,
  },
  'set_config in a policy': {
    more: `create policy p on items using (set_config('role', name, false) <> '')`,
    says: /policy p .*set_config/,
  },
  'set_config in a trigger': {
    more: `create function f() returns trigger language plpgsql as 'begin return new; end';
      create trigger g before update on items for each row when (set_config('role', old.name, false) <> '') execute function f()`,
    says: /trigger g .*set_config/,
  },
  'the settings as a view': { more: `create view v as select * from pg_settings`, says: /pg_settings/ },
  'a rule': { more: `create rule r as on update to items do instead nothing`, says: /rule r .*CREATE RULE/ },
  'a body that was read when it was made': {
    more: `create function f() returns text language sql begin atomic select name from items; end`,
    says: /BEGIN ATOMIC/,
  },
  'a body that names the schema as it was': {
    more: `create function f() returns text language sql as 'select name from old.items'`,
    says: /names the schema old/,
  },
  'a body that names public': {
    outside: `create table public.everybody (name text); set role "OWNER"; set check_function_bodies to off;
      create function old.f() returns text language sql as 'select name from public.everybody'; reset role; reset check_function_bodies`,
    undo: 'drop table public.everybody',
    says: /function f\(\) names the schema public/,
  },
  'another language': {
    outside: `create function old.f(text, text, boolean) returns text language internal as 'set_config_by_name'; alter function old.f owner to "OWNER"`,
    says: /language internal/,
  },
  'an operator': {
    more: `create function same(integer, integer) returns boolean language sql immutable as 'select $1 = $2';
      create operator === (leftarg = integer, rightarg = integer, function = same)`,
    says: /CREATE OPERATOR/,
  },
  'an operator of PostgreSQL’s function': {
    more: `create operator === (leftarg = integer, rightarg = integer, function = int4eq)`,
    says: /CREATE OPERATOR/,
  },
  'a cast': {
    more: `create type pair as (a integer); create function f(integer) returns pair language sql as 'select row($1)::pair';
      create cast (integer as pair) with function f(integer)`,
    says: /cast .*(?:depends on an object of it|CREATE CAST)/,
  },
  'an event trigger with the name of the schema': {
    outside: `create function old.f() returns event_trigger language plpgsql as 'begin end'; alter function old.f owner to "OWNER";
      create event trigger old on ddl_command_end execute function old.f(); alter event trigger old disable`,
    undo: 'drop event trigger if exists old',
    says: /CREATE EVENT/,
  },
  'a collation': { more: `create collation c (locale = 'C')`, says: /CREATE COLLATION/ },
  'a text search configuration': {
    more: `create text search configuration c (copy = simple)`,
    says: /CREATE TEXT/,
  },
  'a publication': {
    outside: 'create publication out for table old.items',
    undo: 'drop publication if exists out',
    says: /depends on an object of it|CREATE PUBLICATION/,
  },
  'a publication of the schema': {
    outside: 'create publication out for tables in schema old',
    undo: 'drop publication if exists out',
    says: /CREATE PUBLICATION/,
  },
  'a foreign table': {
    outside: `create foreign data wrapper w; create server s foreign data wrapper w; create foreign table old.far (id integer) server s; alter table old.far owner to "OWNER"`,
    undo: 'drop foreign data wrapper w cascade',
    says: /CREATE FOREIGN/,
  },
  'statistics of a table elsewhere': {
    outside: `create table public.other (a integer, b integer); grant all on public.other to "OWNER"; alter table public.other owner to "OWNER";
      set role "OWNER"; create statistics old.st on a, b from public.other; reset role`,
    undo: 'drop table if exists public.other',
    says: /statistics object .* depends on .*public\.other/,
  },
  'the tables of a registry': {
    more: 'create table registry_migrations (name text)',
    says: /registry_migrations in it is one of fastify-tenancy/,
  },
  'a ledger of a tenant': {
    more: `create table x__drizzle_migrations (id integer); comment on table x__drizzle_migrations is 'fastify-tenancy tenant 1'`,
    says: /x__drizzle_migrations in it is one of fastify-tenancy/,
  },
}

for (const version of ['15', '18'] as const) {
  describeWith([`postgres${version}`], `what an adopted schema holds on PostgreSQL ${version}`, (servers) => {
    let database: TestDatabase
    beforeAll(async () => {
      database = await baselineDatabase(servers[`postgres${version}`]?.url ?? '')
    })
    afterAll(() => database?.drop())

    const asRoot = (text: string, on = database) =>
      asSuperuser(on, (superuser) => superuser.query(text.replaceAll('OWNER', on.ownerRole)))
    const old = async (more = '', on = database) => {
      await asRoot(
        `set role "OWNER"; create schema old; set search_path to old; ${table}; insert into items (name) values ('of old'); ${more}`,
        on,
      )
      onTestFinished(async () => void (await asRoot('drop schema if exists old cascade', on)))
    }
    const started = async (options: TenancyOptions = {}, on = database): Promise<FastifyInstance> => {
      const app = await tenantApp(on, { migrations: await migrationsOf(itemsMigration), ...options })
      await app.ready()
      onTestFinished(() => app.close())
      return app
    }

    it.each(Object.keys(refused))('refuses %s, as a migration is', async (what) => {
      const { more, outside, undo, says } = refused[what] ?? { says: /never/ }
      if (undo !== undefined) onTestFinished(async () => void (await asRoot(undo)))
      await old(more)
      if (outside !== undefined) await asRoot(outside)
      const app = await started()
      const failure = await app.tenancy.register({ identifier: 'acme', adopt }).catch((error: Error) => error)
      expect(failure).toMatchObject({ code: REFUSED, message: expect.stringMatching(says) as string })
      expect(await app.tenancy.get('acme')).toBeUndefined()
      const { rows } = await asRoot(`select (select count(*)::int from old.items) as items,
        (select array_agg(nspname::text) from pg_namespace where nspname ~ '^t[0-9a-z]{25}$') as made`)
      expect(rows).toEqual([{ items: 1, made: null }])
    })

    it('takes all that a migration may make', async () => {
      await asRoot('create extension if not exists pgcrypto schema public')
      onTestFinished(async () => void (await asRoot('drop extension pgcrypto cascade')))
      await old(`
        create type mood as enum ('good', 'bad'); create type pair as (a integer, b text);
        create domain price as numeric default 1.5 check (value >= 0 and value < 'infinity'::numeric);
        alter table items add column mood mood not null default 'good', add column at timestamptz default now(), add column cost price,
          add column token uuid default public.gen_random_uuid(), add column "Full Name" text generated always as (name || ' ' || id::text) stored,
          add constraint parent_fk foreign key (parent) references items (id) on delete cascade, add check (name ~ '^[a-z ]+$' and (cost).price is null or true);
        create index lower_idx on items using btree (lower(name), (id + 1)) where parent is not null;
        create statistics st on (lower(name)), parent from items;
        create view shown ("Name", n) with (security_barrier) as with few as (select i.* from items i limit 3)
          select f.name, (select count(*) from items x where x.parent = f.id) from few f left join lateral (select f.id as y) z on z.y = f.id order by 1;
        create materialized view kept as select mood, array_agg(name order by id) as names from items group by grouping sets ((mood), ());
        create table parts (at date not null, id integer) partition by range (at); create table part1 partition of parts for values from ('2026-01-01') to ('2027-01-01');
        create sequence numbers start 5; create table log (id integer generated always as identity, said text);
        create function touch() returns trigger language plpgsql as $$
          declare r record; n integer := 0;
          begin
            -- execute: a comment
            for r in select i.name from items i where i.id = new.id loop n := n + 1; end loop;
            if tg_op = 'UPDATE' and new.name is distinct from old.name then insert into log (said) values (format('%s: %s', tg_table_name, new.name)); end if;
            return new;
          exception when unique_violation then raise notice 'execute %', sqlerrm; return null;
          end $$;
        create trigger touch after insert or update of name on items for each row when (new.name <> 'x') execute function touch();
        create constraint trigger late after delete on items deferrable initially deferred for each row execute function touch();
        create function total(variadic integer[] default '{}') returns bigint language sql immutable parallel safe set work_mem to '4MB' as 'select sum(x) from unnest($1) x';
        create function many(out id integer, out name text) returns setof record language sql stable as 'select i.id, i.name from items i';
        create function one() returns integer language sql return (select min(id) from items);
        create procedure clear_log() language plpgsql as 'begin truncate log; end';
        create function plus(integer, integer) returns integer language sql immutable as 'select $1 + $2';
        create aggregate add_up(integer) (sfunc = plus, stype = integer, initcond = '0');
        alter table log enable row level security; create policy p on log using (id > 0 or said in (select name from items));
        comment on table items is 'things'`)
      const app = await started()
      await app.tenancy.register({ identifier: 'all', adopt })
      expect(await app.tenancy.verify('all')).toMatchObject({ ok: true })
      await app.tenancy.run('all', async () => {
        await db().execute(sql`update items set name = 'renamed'`)
        const { rows } = await db().execute(
          sql`select (select add_up(id) from items) as total, one(), (select "Name" from shown) as name, (many()).id, "Full Name" as full from items`,
        )
        expect(rows).toEqual([{ total: 1, one: 1, name: 'renamed', id: 1, full: 'renamed 1' }])
      })
    })

    const items = pgTable('items', { id: integer('id').primaryKey(), name: text('name') })
    const modes: Readonly<Record<string, { rights: object; options: TenancyOptions }>> = {
      tenantRoles: { rights: { tenantRoles: true }, options: { tenantRoles: true } },
      qualified: {
        rights: { qualified: true },
        options: { schemaScoping: 'qualified', schema: { items }, databaseMaxOverflow: 0 },
      },
    }
    it.each(Object.keys(modes))('brings nobody to the rows of another tenant under %s', async (mode) => {
      const { rights, options } = modes[mode] ?? { rights: {}, options: {} }
      const on = await baselineDatabase(servers[`postgres${version}`]?.url ?? '', rights)
      onTestFinished(() => on.drop())
      const app = await started({ ...options, databasePoolSize: 1 }, on)
      const victim = (await app.tenancy.ensure({ identifier: 'victim' })).placement.namespace
      await asRoot(`insert into "${victim}".items (name) values ('secret of victim')`, on)
      const body = `language plpgsql as 'declare r text; begin execute q into r; return r; end'`
      await old(`create function run(q text) returns text ${body}`, on)
      const tenant = await app.tenancy.register({ identifier: 'attacker', adopt }).catch(() => undefined)
      const seen: unknown[] = []
      for (const text of [
        `select run('set local role "${victim}"'), run('select name from "${victim}".items')`,
        `select run('set search_path = "${tenant?.placement.namespace}"')`,
      ]) {
        const own = text.replaceAll('run(', `"${tenant?.placement.namespace}".run(`)
        seen.push(await app.tenancy.run('attacker', async () => db().execute(sql.raw(own))).catch(() => 'refused'))
      }
      seen.push(
        await app.tenancy.run('victim', () => db().execute(sql.raw('select name from items'))).catch(() => 'refused'),
      )
      expect(JSON.stringify(seen[0])).not.toContain('secret')
      expect(JSON.stringify(seen[2])).not.toContain('of old')
      expect(tenant).toBeUndefined()
    })

    it('never takes a schema of another app of fastify-tenancy, whatever it is marked with', async () => {
      const other = await started({
        registrySchema: 'other_registry',
        rlsSchema: 'other_rls',
        isolationStrategy: 'rls',
        migrations: await migrationsOf(['create table notes (id integer, tenant_id uuid not null)']),
      })
      await other.tenancy.register({ identifier: 'theirs' })
      await asRoot(`comment on schema other_rls is null`)
      const app = await started()
      for (const namespace of ['other_registry', 'other_rls']) {
        for (const wish of [{ namespace }, { ...adopt, namespace }]) {
          await expect(app.tenancy.register({ identifier: 'thief', adopt: wish })).rejects.toMatchObject({
            code: REFUSED,
            message: expect.stringContaining('fastify-tenancy') as string,
          })
        }
      }
      expect((await other.tenancy.get('theirs'))?.status).toBe('active')
    })

    it('still adopts what is in order', async () => {
      await old()
      const app = await started()
      await app.tenancy.register({ identifier: 'fine', adopt })
      expect(await namesIn(app, 'fine')).toEqual(['of old'])
    })
  })
}
