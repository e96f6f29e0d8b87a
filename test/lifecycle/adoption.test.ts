import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { pgTable, serial } from 'drizzle-orm/pg-core'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { add, db, itemsMigration, migrationsOf, namesIn } from '../faults/fixture.ts'
import { readMigrations } from '../../src/migrations/reader.ts'
import tenancy, { type TenancyOptions } from '../../src/index.ts'
import { type PlainDb, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase, testServer } from '../support/database.ts'
import { codeBlocks } from '../docs/code-blocks.ts'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { tenancyError } from '../../src/errors.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { createRegistration } from '../../src/lifecycle/registration.ts'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import { codeOf } from '../support/errors.ts'

const more = ['alter table "items" add column "note" text']
const REFUSED = 'TENANCY_ERR_ADOPTION_REFUSED'

for (const version of ['15', '18'] as const) {
  describeWith([`postgres${version}`], `adoption on PostgreSQL ${version}`, (servers) => {
    let database: TestDatabase
    beforeAll(async () => {
      database = await baselineDatabase(servers[`postgres${version}`]?.url ?? '')
    })
    afterAll(() => database?.drop())

    const asOwner = (text: string) =>
      asSuperuser(database, (superuser) => superuser.query(`set role ${database.ownerRole}; ${text}; reset role`))
    const asRoot = async (text: string): Promise<void> => {
      await asSuperuser(database, (superuser) => superuser.query(text))
    }
    const rows = async (text: string, values: unknown[] = []) =>
      (await asSuperuser(database, (superuser) => superuser.query(text, values))).rows as Record<string, unknown>[]

    /** A customer's schema, as an app without us has made it: the effects of the first migration, and a row. */
    const old = async (name: string, more = '') => {
      await asOwner(`create schema "${name}"; set local search_path to "${name}";
        create table items (id serial primary key, name text not null unique, parent integer);
        alter table items add constraint items_parent_fk foreign key (parent) references items (id) deferrable initially deferred;
        insert into items (name) values ('of ${name}'); set constraints all immediate;
        ${more}`)
    }
    const journal = (name: string, hashes: readonly string[]) =>
      asOwner(`create table "${name}"."__drizzle_migrations" (id serial primary key, hash text not null, created_at bigint);
        ${hashes.map((hash) => `insert into "${name}"."__drizzle_migrations" (hash, created_at) values ('${hash}', 1)`).join(';')}`)
    /** All that a failure could have changed. */
    const stateOf = async (name: string) =>
      Promise.all([
        rows(`select oid, nspname, nspacl, obj_description(oid) as mark from pg_namespace where nspname = $1`, [name]),
        rows(
          `select oid, relname, relacl, relkind, (select array_agg(attname || coalesce(attacl::text, '')) from pg_attribute where attrelid = c.oid) as columns
           from pg_class c where relnamespace = (select oid from pg_namespace where nspname = $1) order by oid`,
          [name],
        ),
        rows(
          `select oid, proacl, proconfig from pg_proc where pronamespace = (select oid from pg_namespace where nspname = $1) order by oid`,
          [name],
        ),
        rows(
          `select defaclacl from pg_default_acl where defaclnamespace = (select oid from pg_namespace where nspname = $1)`,
          [name],
        ),
        rows(`select * from "${name}".items`),
      ])
    const started = async (folder: string | undefined, options: TenancyOptions = {}): Promise<FastifyInstance> => {
      const app = await tenantApp(database, { ...(folder !== undefined && { migrations: folder }), ...options })
      await app.ready()
      onTestFinished(() => app.close())
      return app
    }
    const baseline = '20260101000001_step'
    const schemaOf = async (app: FastifyInstance, identifier: string) =>
      (await app.tenancy.get(identifier))?.placement.namespace ?? ''

    it('makes a schema a tenant’s: its rows, its rights alone, the pending migrations, and verify is green', async () => {
      await asRoot(`create role reporting; create role clerk`)
      onTestFinished(() => asRoot(`drop owned by reporting, clerk; drop role reporting, clerk`))
      await old(
        'Old "Acme"'.replaceAll('"', ''),
        `create function first_name() returns text language sql stable set search_path to "Old Acme", public as 'select name from items order by id limit 1';
         create view big as select * from items;
         grant usage, create on schema "Old Acme" to public, reporting with grant option;
         grant all on all tables in schema "Old Acme" to reporting; grant select (name) on items to clerk;
         grant execute on function first_name() to reporting;
         alter default privileges in schema "Old Acme" grant all on tables to reporting;
         alter default privileges in schema "Old Acme" grant select on tables to public`.replace(
          'to public, reporting with grant option',
          'to reporting with grant option; grant usage on schema "Old Acme" to public',
        ),
      )
      await asRoot(`set role reporting; grant usage on schema "Old Acme" to clerk; reset role`)
      const app = await started(await migrationsOf(itemsMigration, more))
      await app.tenancy.register({ identifier: 'other' })
      const tenant = await app.tenancy.register({ identifier: 'old-acme', adopt: { namespace: 'Old Acme', baseline } })
      expect(tenant).toMatchObject({ status: 'active', placement: { strategy: 'schema' } })
      expect(await namesIn(app, 'old-acme')).toEqual(['of Old Acme'])
      await app.tenancy.run('old-acme', async () => {
        await add('new')
        expect((await db().execute(sql`select first_name() as name, note from big, items limit 1`)).rows).toEqual([
          { name: 'of Old Acme', note: null },
        ])
      })
      expect(await namesIn(app, 'other')).toEqual([])
      expect(await app.tenancy.verify('old-acme')).toMatchObject({ ok: true, warnings: [] })
      const { namespace } = tenant.placement
      expect(await rows(`select 1 from pg_namespace where nspname = 'Old Acme'`)).toEqual([])
      const ledger = await rows(`select name from "${namespace}".__drizzle_migrations order by id`)
      expect(ledger).toEqual([{ name: baseline }, { name: '20260101000002_step' }])
      await asOwner(`create table "${namespace}".later (id integer)`)
      for (const role of ['reporting', 'clerk']) {
        for (const table of ['items', 'later', 'big', '__drizzle_migrations']) {
          const [right] = await rows(
            `select has_table_privilege($1, $2, 'select') or has_any_column_privilege($1, $2, 'select') or has_schema_privilege($1, $3, 'usage') as has`,
            [role, `"${namespace}".${table}`, namespace],
          )
          expect(right, `${role} ${table}`).toEqual({ has: false })
        }
      }
      // A second run finds it done; it is migrated and served as any other.
      expect(
        await app.tenancy.ensure({ identifier: 'old-acme', adopt: { namespace: 'Old Acme', baseline } }),
      ).toMatchObject({
        id: tenant.id,
        status: 'active',
      })
      expect((await app.tenancy.ensure({ identifier: 'old-acme' })).id).toBe(tenant.id)
      await app.tenancy.delete('old-acme')
      await asOwner(`create schema bystander; create table bystander.items (id integer)`)
      await app.tenancy.purge('old-acme')
      expect(
        await rows(`select nspname::text as name from pg_namespace where nspname in ($1, 'bystander')`, [namespace]),
      ).toEqual([{ name: 'bystander' }])
      expect(await namesIn(app, 'other')).toEqual([])
    })

    it.each(['LF', 'CRLF'])('takes Drizzle’s own journal for what was applied, of a file with %s', async (ends) => {
      const folder = await migrationsOf(itemsMigration, more)
      const [first] = await readMigrations(folder)
      const name = `drizzled-${ends.toLowerCase()}`
      await old(name)
      // Drizzle hashes the file as it is.
      const text = await readFile(first?.file ?? '', 'utf8')
      const written = ends === 'LF' ? text : text.replaceAll('\n', '\r\n')
      await journal(name, [createHash('sha256').update(written).digest('hex')])
      const app = await started(folder)
      const { placement } = await app.tenancy.register({ identifier: name, adopt: { namespace: name } })
      expect(
        await rows(`select hash, name from "${placement.namespace}".__drizzle_migrations order by id`),
      ).toMatchObject([{ hash: first?.hash }, { name: '20260101000002_step' }])
      expect(await namesIn(app, name)).toEqual([`of ${name}`])
    })

    it('adopts a schema without migrations where there are none, under qualified names and roles of tenants too', async () => {
      await old('plain')
      const app = await started(undefined)
      await app.tenancy.register({ identifier: 'plain', adopt: { namespace: 'plain' } })
      expect(await namesIn(app, 'plain')).toEqual(['of plain'])
      const walled = await baselineDatabase(servers[`postgres${version}`]?.url ?? '', { tenantRoles: true })
      onTestFinished(() => walled.drop())
      await asSuperuser(walled, (superuser) =>
        superuser.query(`set role ${walled.ownerRole}; create schema old; create table old.items (id serial primary key, name text not null);
          insert into old.items (name) values ('of old'); grant usage on schema old to ${walled.appRole}; grant select on old.items to ${walled.appRole}`),
      )
      const roles = await tenantApp(walled, { tenantRoles: true })
      await roles.ready()
      await roles.tenancy.register({ identifier: 'old', adopt: { namespace: 'old' } })
      expect(await namesIn(roles, 'old')).toEqual(['of old'])
      expect(await roles.tenancy.verify('old')).toMatchObject({ ok: true })
      await roles.close()
    })

    it('works as docs/tenants.md prints it', async () => {
      const block =
        codeBlocks()
          .find(({ text }) => text.includes('adopt: {'))
          ?.text.replace(/^(?:declare|import|export) .*$/gm, '') ?? ''
      const folder = await mkdtemp(join(tmpdir(), 'tenancy-adopt-'))
      onTestFinished(() => rm(folder, { recursive: true, force: true }))
      await mkdir(join(folder, 'meta'))
      await writeFile(
        join(folder, 'meta/_journal.json'),
        JSON.stringify({ entries: [{ tag: '0003_orders', when: 1 }] }),
      )
      await writeFile(join(folder, '0003_orders.sql'), itemsMigration.join('--> statement-breakpoint'))
      await old('customer_acme')
      const app = await started(folder)
      const printed = `data:text/javascript,${encodeURIComponent(`export default async (app) => {${block}}`)}`
      const { default: run } = (await import(printed)) as { default: (app: FastifyInstance) => Promise<void> }
      await run(app)
      const tenant = (await app.tenancy.list({ search: 'acme' })).tenants.find(
        ({ identifier }) => identifier === 'acme',
      )
      expect(tenant?.status).toBe('active')
      expect(await namesIn(app, 'acme')).toEqual(['of customer_acme'])
    })

    const refusals: Readonly<Record<string, { more?: string; outside?: string; says: RegExp; undo?: string }>> = {
      'an object of another owner': {
        outside: `create table "NAME".theirs (id integer)`,
        says: /table .*theirs is not owned by/,
      },
      'another owner': {
        outside: `alter schema "NAME" owner to postgres`,
        says: /not owned by the role of `adminDatabaseUrl`/,
      },
      'a function that runs as its owner': {
        more: `create function up() returns integer language sql security definer as 'select 1'`,
        says: /SECURITY DEFINER/,
      },
      'an extension in it': {
        outside: `create extension citext schema "NAME"`,
        says: /extension citext is in it|not owned/,
        undo: 'drop extension citext',
      },
      'default privileges of others': {
        outside: `alter default privileges in schema "NAME" grant select on tables to public`,
        says: /another role has set default privileges/,
      },
      'a view elsewhere that shows a table of it': {
        outside: `create view public.shows as select * from "NAME".items`,
        says: /public\.shows.* depends on an object of it|depends on an object of it/,
        undo: 'drop view public.shows',
      },
      'a key from elsewhere': {
        outside: `create table public.refers (id integer references "NAME".items (id))`,
        says: /depends on an object of it/,
        undo: 'drop table public.refers',
      },
      'a key to elsewhere': {
        outside: `create table public.target (id integer primary key); grant references on public.target to "OWNER"; grant usage on schema public to "OWNER";
          set role "OWNER"; alter table "NAME".items add foreign key (parent) references public.target (id); reset role`,
        says: /depends on .* public\.target/,
        undo: 'drop table public.target cascade; revoke all on schema public from "OWNER"',
      },
      'a trigger function elsewhere': {
        outside: `create function public.touch() returns trigger language plpgsql as 'begin return new; end'; grant usage on schema public to "OWNER";
          set role "OWNER"; create trigger touch before update on "NAME".items for each row execute function public.touch(); reset role`,
        says: /depends on function public\.touch\(\)/,
        undo: 'drop function public.touch() cascade; revoke all on schema public from "OWNER"',
      },
      'a type elsewhere': {
        outside: `create type public.mood as enum ('a'); grant usage on schema public to "OWNER";
          set role "OWNER"; alter table "NAME".items add column mood public.mood; reset role`,
        says: /depends on type public\.mood/,
        undo: 'drop type public.mood cascade; revoke all on schema public from "OWNER"',
      },
      'a mark of ours': {
        outside: `comment on schema "NAME" is 'fastify-tenancy tenant 00000000-0000-4000-8000-000000000000'`,
        says: /is marked/,
      },
      'a migration that fails': {
        more: `alter table items add column note text`,
        says: /^Migration .* failed at statement 1/,
      },
      'a wrong baseline': { says: /did you mean 20260101000001_step/ },
      'no baseline': { says: /say with `baseline`/ },
      'a journal of another history': { says: /other migrations than the first/ },
    }
    it.each(Object.keys(refusals))('leaves all as it was when there is %s', async (what) => {
      const { more: inside = '', outside, says, undo } = refusals[what] ?? { says: /never/ }
      const name = `bad_${Object.keys(refusals).indexOf(what)}`
      const filled = (text: string) => text.replaceAll('NAME', name).replaceAll('OWNER', database.ownerRole)
      const folder = await migrationsOf(itemsMigration, more)
      await old(name, inside)
      if (outside !== undefined) await asRoot(filled(outside))
      if (undo !== undefined) onTestFinished(() => asRoot(filled(undo)))
      if (what === 'a journal of another history') await journal(name, ['unknown'])
      const app = await started(folder)
      const before = await stateOf(name)
      const asked = {
        'a wrong baseline': '20260101000001_stp',
        'no baseline': undefined,
        'a journal of another history': undefined,
      }
      const at = what in asked ? asked[what as keyof typeof asked] : baseline
      const adopt = { namespace: name, ...(at !== undefined && { baseline: at }) }
      for (const verb of ['register', 'ensure'] as const) {
        const failure = await app.tenancy[verb]({ identifier: 'bad-one', adopt }).catch((error: Error) => error)
        expect(failure).toMatchObject({
          code: what === 'a migration that fails' ? 'TENANCY_ERR_MIGRATION_FAILED' : REFUSED,
        })
        expect((failure as Error).message.replace(/^The namespace .* cannot become that of a tenant: /, '')).toMatch(
          says,
        )
        expect(await stateOf(name)).toEqual(before)
        expect(await app.tenancy.get('bad-one')).toBeUndefined()
      }
    })

    it('never takes what is PostgreSQL’s, ours, shared, another tenant’s, or not there', async () => {
      const app = await started(await migrationsOf(itemsMigration), { extensionsSchema: 'extensions' })
      await app.tenancy.register({ identifier: 'victim' })
      const victim = await schemaOf(app, 'victim')
      await asRoot(`comment on schema "${victim}" is null`)
      const names = [
        victim,
        'public',
        'pg_catalog',
        'pg_toast',
        'information_schema',
        'tenancy',
        'extensions',
        'rls',
        'prefixed',
        'nowhere',
      ]
      for (const namespace of names) {
        for (const adopt of [{ namespace, baseline }, { namespace }]) {
          expect(await codeOf(() => app.tenancy.register({ identifier: 'thief', adopt })), namespace).toBe(REFUSED)
        }
        expect(await app.tenancy.get('thief')).toBeUndefined()
      }
      await asRoot(`comment on schema "${victim}" is 'fastify-tenancy tenant ${(await app.tenancy.get('victim'))?.id}'`)
      expect(await namesIn(app, 'victim')).toEqual([])
      // Nor a second one for a tenant that has its own.
      await old('second')
      expect(
        await codeOf(() => app.tenancy.ensure({ identifier: 'victim', adopt: { namespace: 'second', baseline } })),
      ).toBe(REFUSED)
      expect(await rows('select name from second.items')).toEqual([{ name: 'of second' }])
      // And nothing of this name when nobody says so.
      await app.tenancy.register({ identifier: 'second' })
      expect(await namesIn(app, 'second')).toEqual([])
    })

    it('of two who adopt one schema one wins, of two who do it for one tenant both', async () => {
      const app = await started(await migrationsOf(itemsMigration, more))
      const another = await started(await migrationsOf(itemsMigration, more))
      await old('wanted')
      const adopt = { namespace: 'wanted', baseline }
      const outcomes = await Promise.allSettled(
        [app, another, app, another].map((on, i) => on.tenancy.register({ identifier: `rival-${i}`, adopt })),
      )
      const won = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value.identifier] : []))
      expect(won).toHaveLength(1)
      for (const one of outcomes) if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: REFUSED })
      expect(await namesIn(app, won[0])).toEqual(['of wanted'])
      for (let i = 0; i < 4; i++)
        if (won[0] !== `rival-${i}`) expect(await app.tenancy.get(`rival-${i}`)).toBeUndefined()
      await old('shared_wish')
      const same = { identifier: 'same', adopt: { namespace: 'shared_wish', baseline } }
      const both = await Promise.all([app.tenancy.ensure(same), another.tenancy.ensure(same), app.tenancy.ensure(same)])
      expect(new Set(both.map(({ id }) => id)).size).toBe(1)
      expect(await namesIn(app, 'same')).toEqual(['of shared_wish'])
    })

    it('is not served while verify says no, and goes on when that is mended', async () => {
      const app = await started(await migrationsOf(itemsMigration))
      await old('doubtful')
      await asRoot(`alter role ${database.appRole} bypassrls`)
      const wish = { identifier: 'doubtful', adopt: { namespace: 'doubtful', baseline } }
      await expect(app.tenancy.register(wish)).rejects.toMatchObject({
        code: REFUSED,
        message: expect.stringContaining('serving role') as string,
      })
      expect((await app.tenancy.get('doubtful'))?.status).toBe('provisioning')
      expect(await codeOf(() => namesIn(app, 'doubtful'))).not.toBe('it did not fail')
      for (let i = 0; i < 2; i++)
        expect(await codeOf(() => app.tenancy.ensure({ identifier: 'doubtful' }))).toBe(REFUSED)
      expect(await codeOf(() => app.tenancy.ensure(wish))).toBe(REFUSED)
      expect(await codeOf(() => app.tenancy.ensure({ identifier: 'doubtful' }))).toBe(REFUSED)
      expect((await app.tenancy.get('doubtful'))?.status).toBe('provisioning')
      for (const verb of ['delete', 'suspend', 'activate', 'purge'] as const) {
        await expect(app.tenancy[verb]('doubtful')).rejects.toMatchObject({
          code: 'TENANCY_ERR_STATUS_TRANSITION',
          message: expect.stringContaining('`ensure()`') as string,
        })
      }
      await asRoot(`alter role ${database.appRole} nobypassrls`)
      expect((await app.tenancy.ensure(wish)).status).toBe('active')
      expect(await namesIn(app, 'doubtful')).toEqual(['of doubtful'])
    })

    /** Several processes over one registry. */
    const processes = async () => {
      const server = testServer(database)
      await server.open()
      onTestFinished(() => server.close())
      const store = createDrizzlePostgresTenantStore({ admin: server.admin, drizzle: server.drizzle })
      await store.initialize()
      const service = (change: Partial<DatabaseServer> = {}, stored: Partial<TenantStore> = {}) =>
        createRegistration({
          store: { ...store, ...stored },
          strategy: namespaceStrategy('schema'),
          server: { ...server, ...change },
          migrations: [],
          reserved: new Set(),
          metadata: { check() {} },
          initialStatus: 'active',
        })
      return { server, store, service }
    }
    const made = async () => (await rows(`select 1 from pg_namespace where nspname ~ '^t[0-9a-z]{25}$'`)).length
    const away = () => tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
    /** The connection is lost at the COMMIT of one step: before the server has it, or before we have its answer. */
    const losing = (server: DatabaseServer, step: number, what: 'undone' | 'done'): Partial<DatabaseServer> => {
      let steps = 0
      return {
        async inNamespace(scope, work) {
          if (++steps !== step) return server.inNamespace(scope, work)
          await server.inNamespace(scope, async (session) => {
            await work(session)
            if (what === 'undone') throw away()
          })
          throw away()
        },
      }
    }
    const steps = { 'the announcement': 1, 'the adoption': 2, 'the end': 3 } as const

    it.each((['undone', 'done'] as const).flatMap((what) => Object.keys(steps).map((step) => [step, what] as const)))(
      'goes on after %s was %s while nobody knows it, and nobody else makes something else of the tenant',
      async (step, what) => {
        const { server, store, service } = await processes()
        const number = steps[step as keyof typeof steps]
        const wish = { identifier: `lost-${what}-${number}`, adopt: { namespace: `lost_${what}_${number}` } }
        await old(wish.adopt.namespace)
        const before = await made()
        expect(await codeOf(() => service(losing(server, number, what)).register(wish))).toBe(
          'TENANCY_ERR_DATABASE_UNAVAILABLE',
        )
        // What was announced for a tenant that there is not is nobody's.
        expect(await made()).toBe(before + (number === 1 ? 0 : 1))
        const left = await store.getByIdentifier(wish.identifier)
        expect(left?.status).toBe(number === 1 ? undefined : 'provisioning')
        if (number === 2) {
          // What an older server.ts says.
          expect(await codeOf(() => service().ensure({ identifier: wish.identifier }))).toBe(REFUSED)
          expect((await store.getByIdentifier(wish.identifier))?.status).toBe('provisioning')
        }
        const { status, placement } = await service().ensure(wish)
        expect(status).toBe('active')
        expect(await rows(`select name from "${placement.namespace}".items`)).toEqual([
          { name: `of ${wish.adopt.namespace}` },
        ])
        expect((await service().ensure({ identifier: wish.identifier })).id).toBe((await service().ensure(wish)).id)
      },
    )

    it('a registration that fails leaves no tenant without its rows to who waits for it', async () => {
      const bad = await started(await migrationsOf(itemsMigration, ['select pg_sleep(1)', 'select 1/0']))
      const good = await started(await migrationsOf(itemsMigration))
      await old('contested')
      const wish = { identifier: 'contested', adopt: { namespace: 'contested', baseline } }
      const before = await made()
      const first = codeOf(() => bad.tenancy.register(wish))
      while ((await good.tenancy.get('contested')) === undefined) await new Promise(setImmediate)
      const second = good.tenancy.ensure(wish)
      expect(await first).toBe('TENANCY_ERR_MIGRATION_FAILED')
      expect((await second).status).toBe('active')
      expect(await namesIn(good, 'contested')).toEqual(['of contested'])
      expect(await made()).toBe(before + 1)
    })

    it('does not serve what somebody made in it while it was adopted', async () => {
      const { server, store, service } = await processes()
      await old('busy')
      await asRoot('create role busybody')
      const wish = { identifier: 'busy', adopt: { namespace: 'busy' } }
      const place = async () => (await store.getByIdentifier('busy'))?.placement.namespace ?? ''
      const late: Partial<DatabaseServer> = {
        async verify(scope) {
          await asRoot(`create function "${scope.namespace}".theirs() returns text language sql as 'select 1::text';
            alter function "${scope.namespace}".theirs() owner to busybody`)
          return server.verify(scope)
        },
      }
      await expect(service(late).register(wish)).rejects.toMatchObject({
        code: REFUSED,
        message: expect.stringContaining('theirs() is not owned by') as string,
      })
      expect((await store.getByIdentifier('busy'))?.status).toBe('provisioning')
      await asRoot(`drop function "${await place()}".theirs(); drop role busybody`)
      expect((await service().ensure(wish)).status).toBe('active')
    })

    it('a tenant that was given up and not forgotten is made anew with `adopt`, and not without', async () => {
      const { store, service } = await processes()
      await old('halfway')
      const wish = { identifier: 'halfway', adopt: { namespace: 'halfway' } }
      const before = await made()
      const dying = service({}, { discard: () => Promise.reject(away()) })
      expect(await codeOf(() => dying.register({ ...wish, adopt: { namespace: 'halfway', baseline } }))).toBe(REFUSED)
      const left = await store.getByIdentifier('halfway')
      expect(left?.status).toBe('provisioning')
      expect(await codeOf(() => service().ensure({ identifier: 'halfway' }))).toBe(REFUSED)
      const tenant = await service().ensure(wish)
      expect(tenant.id).not.toBe(left?.id)
      expect(await rows(`select name from "${tenant.placement.namespace}".items`)).toEqual([{ name: 'of halfway' }])
      expect(await made()).toBe(before + 1)
      // A tenant that is there, or being made without, is not taken over, and nothing stays behind.
      await old('too_late')
      const late = { namespace: 'too_late' }
      expect(await codeOf(() => service().register({ identifier: 'halfway', adopt: late }))).toBe(
        'TENANCY_ERR_TENANT_EXISTS',
      )
      const never = {
        async inNamespace(): Promise<never> {
          throw away()
        },
      }
      expect(
        await codeOf(() => service(never, { discard: () => Promise.reject(away()) }).register({ identifier: 'begun' })),
      ).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
      expect(await codeOf(() => service().ensure({ identifier: 'begun', adopt: late }))).toBe(REFUSED)
      expect((await store.getByIdentifier('begun'))?.status).toBe('provisioning')
      expect(await rows('select name from too_late.items')).toEqual([{ name: 'of too_late' }])
      expect(await made()).toBe(before + 1)
      expect((await service().ensure({ identifier: 'begun' })).status).toBe('active')
    })

    it('refuses what is no wish to adopt, and strategies that have nothing to adopt', async () => {
      const app = await started(undefined)
      for (const adopt of [
        {},
        'old',
        null,
        ['old'],
        { namespace: 1 },
        { namespace: '' },
        { namespace: 'x', baseline: 3 },
        { namespace: 'x', base: 'y' },
      ]) {
        expect(
          await codeOf(() => app.tenancy.register({ identifier: 'nonsense', adopt } as never)),
          JSON.stringify(adopt),
        ).toBe('TENANCY_ERR_TENANT_INVALID')
      }
      const prefix = await started(undefined, {
        isolationStrategy: 'prefix',
        schema: { items: pgTable('items', { id: serial() }) },
      })
      expect(await codeOf(() => prefix.tenancy.register({ identifier: 'nonsense', adopt: { namespace: 'x' } }))).toBe(
        REFUSED,
      )
      expect(await prefix.tenancy.get('nonsense')).toBeUndefined()
    })
  })
}

it('adopts a schema of the embedded database too', async () => {
  const app = Fastify({ pluginTimeout: 120_000 })
  onTestFinished(() => app.close())
  await app.register(tenancy, { databaseUrl: 'pglite:memory', migrations: await migrationsOf(itemsMigration, more) })
  await app.ready()
  const admin = (await app.tenancy.adminDb()) as PlainDb
  await admin.execute(sql`create schema old`)
  for (const statement of itemsMigration) await admin.execute(sql.raw(statement.replaceAll('"items"', 'old.items')))
  await admin.execute(sql`insert into old.items (name) values ('of old')`)
  await admin.execute(sql`grant all on all tables in schema old to public`)
  const adopt = { namespace: 'old', baseline: '20260101000001_step' }
  await app.tenancy.register({ identifier: 'acme', adopt })
  expect(await namesIn(app as unknown as FastifyInstance)).toEqual(['of old'])
  expect(await app.tenancy.verify('acme')).toMatchObject({ ok: true })
  expect(await codeOf(() => app.tenancy.register({ identifier: 'globex', adopt }))).toBe(REFUSED)
  expect(await app.tenancy.get('globex')).toBeUndefined()
})

it('is refused on a database that cannot do it, with nothing stored', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tenancy-adopt-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const app = Fastify()
  onTestFinished(() => app.close())
  await app.register(tenancy, { databaseUrl: `file:${join(folder, 'app.db')}`, isolationStrategy: 'database' })
  await app.ready()
  expect(await codeOf(() => app.tenancy.register({ identifier: 'acme', adopt: { namespace: 'old.db' } }))).toBe(REFUSED)
  expect(await app.tenancy.get('acme')).toBeUndefined()
})
