import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Migration } from '../../src/contracts/migrator.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import {
  asSuperuser,
  baselineDatabase,
  makeExtension,
  open,
  runRolesScript,
  schemaScope,
  sharedSchemas,
  testServer,
} from '../support/database.ts'

const walled = { ...sharedSchemas, tenantRoles: true }
const migrationOf = (...statements: readonly string[]): Migration => ({
  name: statements.join(),
  file: 'm.sql',
  hash: statements.join(),
  createdAt: 1,
  statements,
})
const first = migrationOf('CREATE TABLE items (id serial PRIMARY KEY, note text)', 'CREATE TABLE log (id int)')

for (const version of ['postgres15', 'postgres18'] as const) {
  describeWith([version], `roles of tenants on ${version}`, ({ [version]: postgres }) => {
    let database: TestDatabase
    const opened: DatabaseServer[] = []

    const openServer = async (tenantRoles: boolean, of = database) => {
      const server = testServer(of, { poolSize: 2, shared: tenantRoles ? walled : sharedSchemas })
      await server.open()
      opened.push(server)
      return server
    }
    const migrate = (server: DatabaseServer, scope: Scope, ...migrations: readonly Migration[]) =>
      migrateNamespace({ server, scope, migrations: [first, ...migrations] })
    const ask = (server: DatabaseServer, scope: Scope, text: string) =>
      (server.client(scope, open) as { query(text: string): Promise<{ rows: Record<string, unknown>[] }> }).query(text)
    const superuser = async (text: string): Promise<Record<string, unknown>[]> =>
      asSuperuser(database, async (client) => (await client.query(text)).rows)
    const roles = ({ namespace }: Scope) =>
      superuser(
        `select rolcanlogin as login, shobj_description(oid, 'pg_authid') as mark from pg_roles where rolname = '${namespace}'`,
      )
    const rightsOf = (role: string, { namespace }: Scope) =>
      superuser(
        `select has_schema_privilege('${role}', '${namespace}', 'USAGE') as usage,
           array(select privilege_type from pg_class c, aclexplode(c.relacl) where c.oid = '${namespace}.log'::regclass and grantee = '${role}'::regrole order by 1) as log,
           has_table_privilege('${role}', '${namespace}.items', 'SELECT') as items,
           has_table_privilege('${role}', '${namespace}.__drizzle_migrations', 'SELECT') as ledger`,
      )

    beforeAll(async () => {
      database = await baselineDatabase(postgres.url, { tenantRoles: true })
    })
    afterEach(async () => {
      for (const server of opened.splice(0)) await server.close()
    })
    afterAll(() => database?.drop())

    it('makes one with the tenant, marked, that cannot log in and has rows of its schema alone', async () => {
      const server = await openServer(true)
      const scope = schemaScope()
      await migrate(server, scope)
      expect(await roles(scope)).toEqual([{ login: false, mark: `fastify-tenancy tenant ${scope.tenantId}` }])
      const all = ['DELETE', 'INSERT', 'SELECT', 'UPDATE']
      expect(await rightsOf(scope.namespace, scope)).toEqual([{ usage: true, log: all, items: true, ledger: false }])
      expect(await rightsOf(database.appRole, scope)).toEqual([{ usage: false, log: [], items: false, ledger: false }])
      await ask(server, scope, `insert into items (note) values ('x')`)
      expect((await ask(server, scope, 'select current_user::text as role, note from items')).rows).toEqual([
        { role: scope.namespace, note: 'x' },
      ])
      await migrate(server, scope, migrationOf('CREATE TABLE later (id serial)'))
      await ask(server, scope, 'insert into later default values')
      await server.destroy(scope)
    })

    it('switching it on moves the rights with the next migration run, switching it off back again', async () => {
      const scope = schemaScope()
      const guarded = await openServer(false)
      await migrate(guarded, scope)
      await superuser(`revoke delete, update on "${scope.namespace}".log from "${database.appRole}"`)
      const wall = await openServer(true)
      // Nobody has the role yet: nothing is served, instead of without it.
      await expect(ask(wall, scope, 'select 1')).rejects.toMatchObject({ code: '22023' })
      for (let run = 0; run < 2; run++) {
        await migrate(wall, scope)
        expect(await rightsOf(scope.namespace, scope)).toEqual([
          { usage: true, log: ['INSERT', 'SELECT'], items: true, ledger: false },
        ])
        expect(await rightsOf(database.appRole, scope)).toMatchObject([{ usage: false, log: [], items: false }])
      }
      await ask(wall, scope, 'insert into items default values')
      await expect(ask(guarded, scope, `select * from "${scope.namespace}".items`)).rejects.toMatchObject({
        code: '42501',
      })
      await migrate(guarded, scope, migrationOf('CREATE TABLE later (id serial)'))
      expect(await roles(scope)).toEqual([])
      expect(await rightsOf(database.appRole, scope)).toEqual([
        { usage: true, log: ['INSERT', 'SELECT'], items: true, ledger: false },
      ])
      await ask(guarded, scope, 'insert into later default values')
      expect((await ask(guarded, scope, 'select id from items')).rows).toEqual([{ id: 1 }])
      await guarded.destroy(scope)
    })

    it('rights that got lost are given again by the next run', async () => {
      const server = await openServer(true)
      const scope = schemaScope()
      await migrate(server, scope)
      await superuser(`drop owned by "${scope.namespace}"`)
      await expect(ask(server, scope, `table "${scope.namespace}".items`)).rejects.toMatchObject({ code: '42501' })
      await migrate(server, scope)
      await ask(server, scope, 'insert into items default values')
      expect(await rightsOf(scope.namespace, scope)).toMatchObject([{ items: true, ledger: false }])
      await server.destroy(scope)
    })

    it('goes with the tenant, whatever other tenants did with its name, and only then', async () => {
      const server = await openServer(true)
      const [gone, other] = [schemaScope(), schemaScope()]
      for (const scope of [gone, other]) await migrate(server, scope)
      // Default rights that one tenant gives another: PostgreSQL lets it, and would keep either role for it.
      for (const [from, to] of [
        [gone, other],
        [other, gone],
      ] as const) {
        await ask(server, from, `alter default privileges grant select on tables to "${to.namespace}"`)
      }
      const { objects } = await server.destroy(gone)
      expect(objects).toBeGreaterThan(3)
      expect(await roles(gone)).toEqual([])
      expect(await server.destroy(gone)).toEqual({ objects: 0, rows: 0 })
      await ask(server, other, 'select * from items')
      await server.destroy(other)
      expect(await roles(other)).toEqual([])
    })

    it('goes when the option was switched off meanwhile, or the schema by hand', async () => {
      const wall = await openServer(true)
      const guarded = await openServer(false)
      for (const byHand of [false, true]) {
        const scope = schemaScope()
        await migrate(wall, scope)
        if (byHand) await superuser(`drop schema "${scope.namespace}" cascade`)
        expect(await guarded.destroy(scope)).toMatchObject({ rows: 0 })
        expect(await roles(scope)).toEqual([])
      }
    })

    it('never takes, nor drops, a role that is not marked as the tenant’s', async () => {
      const server = await openServer(true)
      const scope = schemaScope()
      await superuser(`create role "${scope.namespace}"`)
      await expect(migrate(server, scope)).rejects.toMatchObject({ code: 'TENANCY_ERR_NAMESPACE_EXISTS' })
      expect(await superuser(`select from pg_namespace where nspname = '${scope.namespace}'`)).toEqual([])
      const guarded = await openServer(false)
      await migrate(guarded, scope)
      await guarded.destroy(scope)
      expect(await roles(scope)).toEqual([{ login: false, mark: null }])
      await superuser(`drop role "${scope.namespace}"`)
    })

    it('refuses a marked role that was made stronger, and one that the serving role inherits from', async () => {
      const server = await openServer(true)
      const scope = schemaScope()
      await migrate(server, scope)
      for (const [strong, weak] of [
        [`alter role "${scope.namespace}" login`, `alter role "${scope.namespace}" nologin`],
        [`grant pg_read_all_data to "${scope.namespace}"`, `revoke pg_read_all_data from "${scope.namespace}"`],
      ] as const) {
        await superuser(strong)
        await expect(migrate(server, scope)).rejects.toMatchObject({ code: 'TENANCY_ERR_RIGHTS_UNMET' })
        await superuser(weak)
      }
      await migrate(server, scope)
      await server.destroy(scope)
      await superuser(`alter role "${database.appRole}" inherit`)
      await expect(migrate(server, schemaScope())).rejects.toMatchObject({ code: 'TENANCY_ERR_RIGHTS_UNMET' })
      await superuser(`alter role "${database.appRole}" noinherit`)
    })

    it('leaves the role of a tenant that another database of the server has too', async () => {
      const copy = await baselineDatabase(postgres.url, { tenantRoles: true })
      const scope = schemaScope()
      const [server, twin] = [await openServer(true), await openServer(true, copy)]
      await migrate(server, scope)
      // Their admin roles are two, and only one has made it: the other needs the right to give it.
      await superuser(`grant "${scope.namespace}" to "${copy.ownerRole}" with admin option`)
      await migrate(twin, scope)
      await server.destroy(scope)
      expect(await roles(scope)).toHaveLength(1)
      expect((await ask(twin, scope, 'select current_user::text as role from items')).rows).toEqual([])
      await twin.close()
      await copy.drop()
    })

    it('a tenant with a role is found to be kept apart', async () => {
      const server = await openServer(true)
      const scope = schemaScope()
      await migrate(server, scope)
      expect((await server.verify(scope)).checks.filter(({ ok }) => !ok)).toEqual([])
      await server.destroy(scope)
    })

    it('[W49] concurrent runs make one role, and many tenants at once get theirs', async () => {
      const server = await openServer(true)
      const scopes = Array.from({ length: 8 }, schemaScope)
      await Promise.all(scopes.flatMap((scope) => [migrate(server, scope), migrate(server, scope)]))
      for (const scope of scopes) {
        expect(await roles(scope)).toHaveLength(1)
        await ask(server, scope, 'insert into items default values')
      }
      await Promise.all(scopes.map((scope) => server.destroy(scope)))
    })

    it('a failed migration leaves no role', async () => {
      const server = await openServer(true)
      const scope = schemaScope()
      await expect(migrate(server, scope, migrationOf('INSERT INTO nowhere VALUES (1)'))).rejects.toMatchObject({
        code: 'TENANCY_ERR_MIGRATION_FAILED',
      })
      expect(await roles(scope)).toEqual([])
    })

    describe('the start refuses', () => {
      const unmet: [string, (names: TestDatabase) => string][] = [
        ['set_config for everybody', () => 'grant execute on function set_config(text, text, boolean) to public'],
        ['blocks for everybody', () => 'grant usage on language plpgsql to public'],
        ['temporary objects', ({ database: name }) => `grant temporary on database ${name} to public`],
        ['schemas made by everybody', ({ database: name }) => `grant create on database ${name} to public`],
        ['functions made by everybody', () => 'grant create on schema extensions to public'],
        [
          'a serving role that inherits',
          ({ appRole }) =>
            `alter role ${appRole} inherit; create role inherited_${appRole}; grant inherited_${appRole} to ${appRole}`,
        ],
        [
          'a serving role without set_config',
          ({ appRole }) => `revoke execute on function set_config(text, text, boolean) from ${appRole}`,
        ],
        ['extensions for nobody', () => 'revoke usage on schema extensions from public'],
        ['an admin role that makes no roles', ({ ownerRole }) => `alter role ${ownerRole} nocreaterole`],
        ['a serving role that makes roles', ({ appRole }) => `alter role ${appRole} createrole`],
        ['one that is a member of the admin role', ({ appRole, ownerRole }) => `grant ${ownerRole} to ${appRole}`],
      ]
      let weak: TestDatabase
      beforeAll(async () => {
        weak = await baselineDatabase(postgres.url)
      })
      afterAll(() => weak?.drop())

      it('a database whose script ran without --tenant-roles, with all that is missing', async () => {
        const started = testServer(weak, { shared: walled }).open()
        await expect(started).rejects.toMatchObject({
          code: 'TENANCY_ERR_RIGHTS_UNMET',
          message: expect.stringMatching(
            /set_config.*DO blocks in plpgsql.*schema extensions.*CREATEROLE.*--tenant-roles/,
          ),
        })
        await runRolesScript(weak, { tenantRoles: true })
        await (await openServer(true, weak)).close()
      })

      it.each(unmet)('%s', async (_what, weaken) => {
        const own = await baselineDatabase(postgres.url, { tenantRoles: true })
        await asSuperuser(own, (client) => client.query(weaken(own)))
        const started = testServer(own, { shared: walled }).open()
        await expect(started).rejects.toMatchObject({ code: 'TENANCY_ERR_RIGHTS_UNMET' })
        await own.drop()
      })

      it('dblink for everybody, whatever its functions are called, until the script has run again', async (ctx) => {
        const own = await baselineDatabase(postgres.url, { tenantRoles: true })
        ctx.skip(!(await makeExtension(own, 'dblink')), 'this server has no dblink')
        const start = () => testServer(own, { shared: walled }).open()
        await expect(start()).rejects.toMatchObject({ message: expect.stringContaining('extensions.dblink(') })
        await runRolesScript(own, { tenantRoles: true })
        const server = testServer(own, { shared: walled })
        expect(await server.open()).toEqual([])
        await server.close()
        await asSuperuser(own, (client) =>
          client.query(`alter function extensions.dblink_exec(text) rename to executes;
            grant execute on function extensions.executes(text) to public`),
        )
        await expect(start()).rejects.toMatchObject({ message: expect.stringContaining('extensions.executes(text)') })
        await own.drop()
      })

      it('one role for everything', async () => {
        const own = await baselineDatabase(postgres.url, { tenantRoles: true })
        const started = testServer(own, { url: own.adminUrl, shared: walled }).open()
        await expect(started).rejects.toMatchObject({ code: 'TENANCY_ERR_RIGHTS_UNMET' })
        await own.drop()
      })
    })
  })
}
