import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { diagnose } from '../../src/doctor.ts'
import { lockFindings, versionFindings } from '../../src/dialects/postgres/doctor/server-rules.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { type RuleId, rules } from '../../src/verification/rules.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startPostgres } from '../servers/postgres.ts'
import { describeWith } from '../servers/suite.ts'
import {
  asSuperuser,
  baselineDatabase,
  placedScope,
  provisionScope,
  schemaScope,
  sharedSchemas,
  testServer,
} from '../support/database.ts'
import { ITEMS, migrationOf, type RlsBed, rlsBed } from '../support/rls.ts'
import { databaseHost } from '../support/tenant-databases.ts'

/** What a breakage is told: the shared schema, the serving and the admin role, the database. */
interface Place {
  readonly s: string
  readonly app: string
  readonly admin: string
  readonly db: string
}

interface Breakage {
  readonly rule: RuleId
  readonly text: (place: Place) => string
  readonly mend?: (place: Place) => string
  /** Other rules that it breaks as well. */
  readonly also?: readonly RuleId[]
  readonly severity?: 'error' | 'warning' | 'info'
}

const ours = (s: string, statement: string) =>
  `do $$ declare one record; begin for one in select polname from pg_policy where polrelid = '${s}.items'::regclass and polname ^@ 'tenancy_' loop
     execute format('${statement}', one.polname, '${s}.items'); end loop; end $$`

/** Ways to break it, run as superuser, and the rule that must find out; each is alone. */
const breakages: Record<string, Breakage> = {
  'the serving role has BYPASSRLS': {
    rule: 'rls-1',
    text: ({ app }) => `alter role ${app} bypassrls`,
    mend: ({ app }) => `alter role ${app} nobypassrls`,
  },
  'the serving role is a member of the admin role': {
    rule: 'rls-1',
    text: ({ app, admin }) => `grant ${admin} to ${app}`,
    mend: ({ app, admin }) => `revoke ${admin} from ${app}`,
    also: ['base-1', 'schema-3', 'schema-4'],
  },
  'the serving role owns a shared table': {
    rule: 'rls-1',
    text: ({ s, app }) => `alter table ${s}.items owner to ${app}`,
    also: ['rls-11'],
  },
  'row security of a table is off': {
    rule: 'rls-2',
    text: ({ s }) => `alter table ${s}.items disable row level security`,
  },
  'the owner of a table is not bound': {
    rule: 'rls-2',
    text: ({ s }) => `alter table ${s}.items no force row level security`,
  },
  'our policies are dropped': { rule: 'rls-3', text: ({ s }) => ours(s, 'drop policy %I on %2$s') },
  'a policy of ours does not check what is written': {
    rule: 'rls-3',
    text: ({ s }) => ours(s, 'alter policy %I on %2$s with check (true)'),
  },
  'the tenant does not fill itself': {
    rule: 'rls-4',
    text: ({ s }) => `alter table ${s}.items alter tenant_id drop default`,
    severity: 'warning',
  },
  'a policy reads a setting for every row': {
    rule: 'rls-6',
    text: ({ s }) => `create policy p on ${s}.items as restrictive using (owner <> current_setting('app.x', true))`,
    severity: 'info',
  },
  'a policy casts the tenant': {
    rule: 'rls-7',
    text: ({ s }) =>
      `create policy p on ${s}.items as restrictive using (tenant_id::text = (select current_setting('app.current_tenant', true)))`,
    severity: 'info',
  },
  'a tenant can be null': {
    rule: 'rls-8',
    text: ({ s }) => `alter table ${s}.loose alter tenant_id drop not null`,
    severity: 'error',
  },
  'a key has no tenant': {
    rule: 'rls-8',
    text: ({ s }) => `create unique index on ${s}.loose (item)`,
    severity: 'warning',
  },
  'no index begins with the tenant': {
    rule: 'rls-8',
    text: ({ s }) => `drop index ${s}.loose_tenant_id_idx`,
    severity: 'warning',
  },
  'a foreign key has no tenant': {
    rule: 'rls-9',
    text: ({ s }) =>
      `create unique index on ${s}.items (id); alter table ${s}.loose add foreign key (item) references ${s}.items (id)`,
    also: ['rls-8'],
  },
  'an index is on a function that is not leakproof': {
    rule: 'rls-10',
    text: ({ s }) => `create index on ${s}.items (tenant_id, lower(owner))`,
    severity: 'info',
  },
  'an index is on a type whose operator is not leakproof': {
    rule: 'rls-10',
    text: ({ s }) => `alter table ${s}.items add price numeric; create index on ${s}.items (tenant_id, price)`,
    severity: 'info',
  },
  'the serving role may truncate': { rule: 'rls-11', text: ({ s, app }) => `grant truncate on ${s}.items to ${app}` },
  'everybody may refer to a table': { rule: 'rls-11', text: ({ s }) => `grant references on ${s}.items to public` },
  'a view has the rights of its owner': {
    rule: 'rls-12',
    text: ({ s, app }) =>
      `create view ${s}.peek as select * from ${s}.items; grant select, insert, update, delete on ${s}.peek to ${app}`,
  },
  'a materialized view can be read': {
    rule: 'rls-13',
    text: ({ s, app }) =>
      `create materialized view ${s}.m as select * from ${s}.items; grant select on ${s}.m to ${app}`,
  },
  'a partition is in another schema': {
    rule: 'rls-13',
    text: ({ s }) => `create schema elsewhere; create table elsewhere.heir () inherits (${s}.items)`,
    mend: () => 'drop schema elsewhere cascade',
  },
  'a function has the rights of its owner': {
    rule: 'rls-14',
    text: ({ s }) =>
      `create function ${s}.peek() returns bigint language sql security definer as 'select count(*) from ${s}.items'`,
  },
  'a function elsewhere has the rights of its owner': {
    rule: 'rls-14',
    text: () => `create function extensions.peek() returns int language sql security definer as 'select 1'`,
    mend: () => 'drop function extensions.peek()',
    severity: 'warning',
  },
  'a rule writes with the rights of the owner': {
    rule: 'rls-14',
    text: ({ s }) => `create rule tell as on insert to ${s}.items do also notify told`,
  },
  'there is another permissive policy': {
    rule: 'rls-15',
    text: ({ s }) => `create policy all_of_it on ${s}.items using (true)`,
    severity: 'warning',
  },
  'the serving role has a tenant by default': {
    rule: 'rls-18',
    text: ({ app, db }) => `alter role ${app} in database ${db} set app.current_tenant = 'x'`,
    mend: ({ app, db }) => `alter role ${app} in database ${db} reset app.current_tenant`,
  },
  'the database has a tenant by default': {
    rule: 'rls-18',
    text: ({ db }) => `alter database ${db} set app.current_tenant = 'x'`,
    mend: ({ db }) => `alter database ${db} reset app.current_tenant`,
  },
  'a table has no tenant': { rule: 'rls-24', text: ({ s }) => `create table ${s}.plain (id int)` },
  'the serving role cannot use a table': {
    rule: 'rls-24',
    text: ({ s, app }) => `revoke insert on ${s}.items from ${app}`,
    severity: 'warning',
  },
  'row_security is off for the serving role': {
    rule: 'rls-25',
    text: ({ app }) => `alter role ${app} set row_security = off`,
    mend: ({ app }) => `alter role ${app} reset row_security`,
  },
  'the serving role has a search path of its own': {
    rule: 'schema-1',
    text: ({ app, db, s }) => `alter role ${app} in database ${db} set search_path = ${s}`,
    mend: ({ app, db }) => `alter role ${app} in database ${db} set search_path = ''`,
  },
  'a schema is named like a tenant’s': {
    rule: 'schema-2',
    text: () => `create schema t0000000000000000000000000`,
    mend: () => `drop schema t0000000000000000000000000`,
  },
  'the shared schema lost its mark': {
    rule: 'schema-2',
    text: ({ s }) => `comment on schema ${s} is null`,
  },
  'the serving role can make temporary tables': {
    rule: 'schema-3',
    text: ({ db, app }) => `grant temporary on database ${db} to ${app}`,
    mend: ({ db, app }) => `revoke temporary on database ${db} from ${app}`,
  },
  'the serving role can use public': {
    rule: 'schema-4',
    text: ({ app }) => `grant usage on schema public to ${app}`,
    mend: ({ app }) => `revoke usage on schema public from ${app}`,
    severity: 'warning',
  },
  'everybody can create in public': {
    rule: 'schema-4',
    text: () => 'grant create on schema public to public',
    mend: () => 'revoke create on schema public from public',
  },
  'an extension is in public': {
    rule: 'schema-5',
    text: () => 'create extension pg_trgm schema public',
    mend: () => 'drop extension pg_trgm',
  },
  'the serving role can create among the extensions': {
    rule: 'schema-5',
    text: ({ app }) => `grant create on schema extensions to ${app}`,
    mend: ({ app }) => `revoke create on schema extensions from ${app}`,
    severity: 'error',
  },
  'the serving role can create schemas': {
    rule: 'base-1',
    text: ({ db, app }) => `grant create on database ${db} to ${app}`,
    mend: ({ db, app }) => `revoke create on database ${db} from ${app}`,
  },
  'the serving role can read statistics of all': {
    rule: 'base-1',
    text: ({ app }) => `grant select on pg_catalog.pg_stats to ${app}`,
    mend: ({ app }) => `revoke select on pg_catalog.pg_stats from ${app}`,
  },
  'the serving role can read everything': {
    rule: 'base-1',
    text: ({ app }) => `grant pg_read_all_data to ${app}`,
    mend: ({ app }) => `revoke pg_read_all_data from ${app}`,
    also: ['schema-4'],
    severity: 'error',
  },
  'everybody gets new tables': {
    rule: 'base-2',
    text: ({ admin }) => `alter default privileges for role ${admin} grant select on tables to public`,
    mend: ({ admin }) => `alter default privileges for role ${admin} revoke select on tables from public`,
  },
  'new tables of the shared schema come with rows': {
    rule: 'base-2',
    text: ({ admin, s, app }) =>
      `alter default privileges for role ${admin} in schema ${s} grant select on tables to ${app}`,
  },
}

for (const name of ['postgres15', 'postgres18'] as const) {
  const bouncer = name === 'postgres15' ? 'pgbouncer15' : 'pgbouncer18'
  describeWith([name, bouncer], `doctor on ${name}`, (servers) => {
    let database: TestDatabase
    /** What this very server has against it, whatever we do. */
    let given: readonly string[]
    const red = new Set<string>()
    beforeAll(async () => {
      database = await baselineDatabase(servers[name].url)
      const [version] = await asSuperuser(
        database,
        async (client) =>
          (
            await client.query<{ version: number; shown: string }>(
              `select current_setting('server_version_num')::int as version, current_setting('server_version') as shown`,
            )
          ).rows,
      )
      given = version === undefined ? [] : versionFindings(version).map(({ rule }) => rule)
      for (const rule of given) red.add(rule)
    })
    afterAll(() => database?.drop())

    const bed = async (options: Parameters<typeof rlsBed>[2] = {}): Promise<RlsBed> => {
      const made = await rlsBed(database, [ITEMS, 'create table loose (tenant_id uuid, item int)'], {
        strategies: ['rls', 'schema'],
        ...options,
      })
      await provisionScope(made.server, [], schemaScope())
      return made
    }
    const admin = (text: string) => asSuperuser(database, (client) => client.query(text))
    const look = async ({ server }: Pick<RlsBed, 'server'>) => {
      const report = await diagnose(server, ['rls', 'schema'])
      const found = report.findings.filter(({ rule }) => !given.includes(rule))
      for (const { rule } of found) red.add(rule)
      expect(report.ok).toBe(report.findings.every(({ severity }) => severity !== 'error'))
      for (const { rule } of report.findings) expect(report.rules).toContain(rule)
      return found
    }
    const rulesOf = (findings: readonly { rule: string }[]) => [...new Set(findings.map(({ rule }) => rule))].toSorted()

    it('finds nothing where all is as `fastify-tenancy roles` and the migrations make it', async () => {
      const one = await bed()
      expect(await look(one)).toEqual([])
      const report = await diagnose(one.server, ['rls', 'schema'])
      expect(report).toMatchObject({
        ok: true,
        promises: [{ strategy: 'rls', level: 'guarded' }, { strategy: 'schema' }],
      })
      await one.server.verify(one.a)
      expect(await look(one)).toEqual([])
      await one.server.close()
    })

    it.each(Object.entries(breakages))('%s', async (_what, { rule, text, mend, also = [], severity }) => {
      const one = await bed()
      const place = { s: one.schema, app: database.appRole, admin: database.ownerRole, db: database.database }
      expect(await look(one)).toEqual([])
      await admin(text(place))
      try {
        // What a role or database has by default counts from the next connection on.
        await admin(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${database.appRole}'`)
        await vi.waitFor(() => one.server.ping(), 10_000)
        const found = await vi.waitFor(() => look(one), 10_000)
        expect(rulesOf(found)).toEqual([rule, ...also].toSorted())
        const own = found.find((finding) => finding.rule === rule)
        expect(own).toMatchObject({ severity: severity ?? rules[rule][0], cure: rules[rule][2] })
        expect(own?.detail).toMatch(/\w/)
      } finally {
        await admin(mend?.(place) ?? 'select 1')
        await admin(`drop schema ${one.schema} cascade`)
        await one.server.close()
      }
    })

    it('one role does both', async () => {
      const one = await bed()
      const both = testServer(database, { url: database.adminUrl, strategies: ['schema'], shared: one.shared })
      await both.open()
      expect(rulesOf(await look({ server: both }))).toContain('schema-15')
      await both.close()
      await one.server.close()
    })

    it('a pooler in transaction mode that nobody told of', async () => {
      const url = withPort(database.appUrl, servers[bouncer].port)
      for (const pooled of [false, true]) {
        const one = await bed({ url, pooled })
        expect(rulesOf(await look(one))).toEqual(pooled ? [] : ['schema-11'])
        await one.server.close()
      }
      const single = await bed({ url, poolSize: 1 })
      expect((await diagnose(single.server, ['rls'])).rules).not.toContain('schema-11')
      await single.server.close()
    })

    it('more tables than locks', async () => {
      const settings = { max_connections: '20', max_locks_per_transaction: '10' }
      const small = await startPostgres({ version: name === 'postgres15' ? 15 : 18, settings })
      try {
        const few = await baselineDatabase(small.url)
        const server = testServer(few, { poolSize: 2 })
        await server.open()
        expect(rulesOf(await look({ server }))).toEqual([])
        await asSuperuser(few, async (client) => {
          await client.query('create schema many')
          // One by one: all in one transaction would need the locks that are not there.
          for (let i = 0; i < 165; i++) await client.query(`create table many.t${i} ()`)
        })
        expect(rulesOf(await look({ server }))).toEqual(['schema-17'])
        await server.close()
      } finally {
        await small.stop()
      }
      expect(lockFindings({ tables: 160, locks: 200 })).toEqual([])
      expect(lockFindings({ tables: 161, locks: 200 })).toHaveLength(1)
    })

    it('the admin role cannot make databases', async () => {
      const host = await databaseHost(servers[name].url)
      const server = testServer(host, { strategies: ['database'], databaseTemplate: host.template })
      await server.open()
      expect(rulesOf(await look({ server }))).toEqual([])
      await asSuperuser(host, (client) => client.query(`alter role ${host.ownerRole} nocreatedb`))
      expect(rulesOf(await look({ server }))).toEqual(['base-3'])
      await server.close()
      await host.drop()
    })

    it('has seen every rule red that it looks at', async () => {
      const one = await bed()
      const looked = (await diagnose(one.server, ['rls', 'schema'])).rules
      expect(looked.filter((rule) => !red.has(rule) && rule !== 'rls-17')).toEqual([])
      await one.server.close()
    })
  })
}

describe('doctor on PGlite', () => {
  const server = createPgliteServer({
    folder: undefined,
    registrySchema: 'tenancy',
    shared: sharedSchemas,
    poolTimeout: 10,
    onStatement: undefined,
  })
  beforeAll(() => server.open())
  afterAll(() => server.close())

  it('asks no rule of a shared schema that is not there yet; finds nothing, and then what was broken', async () => {
    const asked = async () => (await diagnose(server, ['rls'])).rules.includes('rls-2')
    expect(await asked()).toBe(false)
    await migrateNamespace({ server, scope: placedScope(rlsStrategy()), migrations: [migrationOf(ITEMS)] })
    expect(await asked()).toBe(true)
    const found = async () =>
      (await diagnose(server, ['rls'])).findings.map(({ rule }) => rule).filter((rule) => rule !== 'rls-17')
    expect(await found()).toEqual([])
    await server.admin.query('alter table rls.items disable row level security')
    expect(await found()).toEqual(['rls-2'])
  })
})

it.each([
  [150014, true],
  [150013, false],
  [160010, true],
  [170005, false],
  [170006, true],
  [180000, true],
  [120022, false],
  [130021, false],
])('[rls-17] version %i has the fixes: %s', (version, fixed) => {
  expect(versionFindings({ version, shown: 'x' })).toHaveLength(fixed ? 0 : 1)
})
