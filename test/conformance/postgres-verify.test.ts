import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { VerifyReport } from '../../src/contracts/verification.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { type NamespaceTrial, verifyNamespace } from '../../src/dialects/postgres/verify/verify-namespace.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { diagnose } from '../../src/doctor.ts'
import { withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import {
  asSuperuser,
  baselineDatabase,
  open,
  placedScope,
  provisionScope,
  sharedSchemas,
  testServer,
} from '../support/database.ts'
import { ITEMS, migrationOf } from '../support/rls.ts'
import { databaseHost, type DatabaseHost } from '../support/tenant-databases.ts'

type Strategy = 'schema' | 'prefix' | 'database'

/** What a breakage is told: the schema, what its names begin with, and the roles. */
interface Place {
  readonly schema: string
  readonly prefix: string
  readonly namespace: string
  readonly app: string
}

interface Breakage {
  readonly text: (place: Place) => string
  readonly red: readonly string[]
  /** Where it can happen. Default: everywhere. */
  readonly only?: readonly Strategy[]
  readonly mend?: (place: Place) => string
}

const items = ({ schema, prefix }: Place) => `"${schema}"."${prefix}items"`
const ledger = ({ schema, prefix }: Place) => `"${schema}"."${prefix}__drizzle_migrations"`

/** Ways to break it, run as superuser, and the checks that must find out. */
const breakages: Record<string, Breakage> = {
  'the mark of the schema is gone': {
    text: ({ schema }) => `comment on schema "${schema}" is null`,
    red: ['namespace'],
    mend: ({ schema, prefix }) =>
      prefix === '' ? '' : `comment on schema "${schema}" is 'fastify-tenancy shared prefix'`,
  },
  'the ledger is marked as that of another tenant': {
    text: (place) => `comment on table ${ledger(place)} is 'fastify-tenancy tenant 0'`,
    red: ['ledger'],
  },
  'there is no ledger': { text: (place) => `drop table ${ledger(place)}`, red: ['ledger'] },
  'the serving role can read the ledger': {
    text: (place) => `grant select on ${ledger(place)} to ${place.app}`,
    red: ['rights'],
  },
  'the serving role owns a table': {
    text: (place) => `alter table ${items(place)} owner to ${place.app}`,
    red: ['owner'],
  },
  'the serving role may make tables in the schema': {
    text: ({ schema, app }) => `grant create on schema "${schema}" to ${app}`,
    red: ['rights'],
    mend: ({ schema, app }) => `revoke create on schema "${schema}" from ${app}`,
  },
  'everybody may use the schema': {
    text: ({ schema }) => `grant usage on schema "${schema}" to public`,
    red: ['rights'],
    mend: ({ schema }) => `revoke usage on schema "${schema}" from public`,
  },
  'everybody may read a table': { text: (place) => `grant select on ${items(place)} to public`, red: ['rights'] },
  'the serving role may truncate a table': {
    text: (place) => `grant truncate on ${items(place)} to ${place.app}`,
    red: ['rights'],
  },
  'the serving role may truncate by way of another role': {
    text: (place) => `drop role if exists helper_${place.app}; create role helper_${place.app};
      grant truncate on ${items(place)} to helper_${place.app}; grant helper_${place.app} to ${place.app}`,
    red: ['rights'],
    mend: (place) => `drop owned by helper_${place.app}; drop role helper_${place.app}`,
  },
  'new tables can be truncated': {
    text: ({ schema }) =>
      `alter default privileges for role "ADMIN" in schema "${schema}" grant truncate on tables to "APP"`,
    red: ['its own tenant: truncate'],
    mend: ({ schema }) =>
      `alter default privileges for role "ADMIN" in schema "${schema}" revoke truncate on tables from "APP"`,
  },
  'new tables cannot be used': {
    text: ({ schema }) =>
      `alter default privileges for role "ADMIN" in schema "${schema}" revoke insert on tables from "APP"`,
    red: ['read', 'update', 'delete', 'refer to a row', 'refer to no row'].map((what) => `its own tenant: ${what}`),
    mend: ({ schema }) =>
      `alter default privileges for role "ADMIN" in schema "${schema}" grant insert on tables to "APP"`,
  },
  'new tables cannot be read': {
    text: ({ schema }) =>
      `alter default privileges for role "ADMIN" in schema "${schema}" revoke select on tables from "APP"`,
    red: ['read outside of a transaction', 'read'].map((what) => `its own tenant: ${what}`),
    mend: ({ schema }) =>
      `alter default privileges for role "ADMIN" in schema "${schema}" grant select on tables to "APP"`,
  },
  'a table elsewhere refers to one of the tenant': {
    text: (place) => `create schema elsewhere; create table elsewhere.child (item int references ${items(place)})`,
    red: ['ties'],
    mend: () => 'drop schema elsewhere cascade',
  },
  'a view elsewhere shows a table of the tenant': {
    text: (place) => `create schema elsewhere; create view elsewhere.peek as select * from ${items(place)}`,
    red: ['ties'],
    mend: () => 'drop schema elsewhere cascade',
  },
  'a table of the tenant refers to one elsewhere': {
    text: (place) => `create schema elsewhere; create table elsewhere.parent (id int primary key);
      alter table ${items(place)} add foreign key (id) references elsewhere.parent not valid`,
    red: ['ties'],
    mend: () => 'drop schema elsewhere cascade',
  },
  'the mark of the database is gone': {
    text: ({ namespace }) => `comment on database "${namespace}" is null`,
    red: ['database'],
    only: ['database'],
  },
  'everybody may connect to the database': {
    text: ({ namespace }) => `grant connect on database "${namespace}" to public`,
    red: ['database rights'],
    only: ['database'],
  },
  'the serving role may make schemas in the database': {
    text: ({ namespace, app }) => `grant create on database "${namespace}" to ${app}`,
    red: ['database rights'],
    only: ['database'],
  },
  'the serving role owns the database': {
    text: ({ namespace, app }) => `alter database "${namespace}" owner to ${app}`,
    red: ['database rights'],
    only: ['database'],
    mend: ({ namespace }) => `alter database "${namespace}" owner to "ADMIN"`,
  },
}

for (const name of ['postgres15', 'postgres18'] as const) {
  const bouncer = name === 'postgres15' ? 'pgbouncer15' : 'pgbouncer18'
  describeWith([name, bouncer], `[W1] [W52] verify of namespaces on ${name}`, (servers) => {
    let host: DatabaseHost
    beforeAll(async () => {
      host = await databaseHost(servers[name].url)
    })
    afterAll(() => host?.drop())

    describe.each(['schema', 'prefix', 'database'] as const)('%s', (strategy) => {
      let server: DatabaseServer
      const red = new Set<string>()
      beforeAll(async () => {
        server = testServer(host, { strategies: [strategy], databaseTemplate: host.template })
        await server.open()
      })
      afterAll(() => server?.close())
      afterEach(() =>
        asSuperuser(host, (client) => client.query(`alter role ${host.appRole} nosuperuser nobypassrls login`)),
      )

      const newTenant = async (on = server): Promise<Scope> => {
        const scope = placedScope(namespaceStrategy(strategy))
        const table = strategy === 'prefix' ? `"prefixed"."${scope.namespace}__items"` : 'items'
        return provisionScope(
          on,
          [`create table ${table} (id int primary key)`, `insert into ${table} values (1)`],
          scope,
        )
      }
      const placeOf = ({ namespace }: Scope): Place => ({
        schema: strategy === 'prefix' ? sharedSchemas.prefixSchema : namespace,
        prefix: strategy === 'prefix' ? `${namespace}__` : '',
        namespace,
        app: host.appRole,
      })
      const inside = (scope: Scope, text: string) =>
        host.asSuperuserIn(strategy === 'database' ? scope.namespace : host.database, (client) =>
          client.query(text.replaceAll('"APP"', host.appRole).replaceAll('"ADMIN"', host.ownerRole)),
        )
      const verify = async (scope: Scope, on = server): Promise<VerifyReport> => {
        const report = await on.verify(scope)
        expect(report.ok).toBe(report.checks.every(({ ok }) => ok))
        for (const check of report.checks) if (!check.ok) red.add(check.name)
        return report
      }
      const failed = async (scope: Scope, on = server) =>
        (await verify(scope, on)).checks.filter(({ ok }) => !ok).map(({ name: one }) => one)

      it('is green where it holds, several at once, and leaves nothing behind', async () => {
        const scope = await newTenant()
        const state = () =>
          inside(
            scope,
            "select relname, relnamespace, xmin::text, relacl::text from pg_class where relnamespace::regnamespace::text !~ '^(pg_|information)' order by 1, 2",
          ).then(({ rows }) => rows)
        const before = await state()
        const report = await verify(scope)
        expect(report).toMatchObject({ ok: true, warnings: [] })
        expect(report.checks.length).toBeGreaterThan(20)
        await Promise.all([verify(scope), verify(scope), verify(scope)])
        expect(await state()).toEqual(before)
      })

      it('is green through a pooler too', async () => {
        const url = withPort(host.appUrl, servers[bouncer].port)
        const pooled = testServer(host, { strategies: [strategy], databaseTemplate: host.template, url, pooled: true })
        await pooled.open()
        expect(await failed(await newTenant(pooled), pooled)).toEqual([])
        await pooled.close()
      })

      // The catalogue reads the same in every version; what is tried live is tried on both.
      const asked = Object.entries(breakages).filter(([, { only }]) => only === undefined || only.includes(strategy))
      it.each(name === 'postgres18' ? asked : asked.slice(-1))(
        'goes red when %s',
        async (_what, { text, red: expected, mend }) => {
          const scope = await newTenant()
          expect(await failed(scope)).toEqual([])
          await inside(scope, text(placeOf(scope)))
          try {
            expect(await failed(scope)).toEqual(expected)
          } finally {
            if (mend) await inside(scope, mend(placeOf(scope)))
          }
        },
      )

      /** A server on which every scope, and none, is led to one tenant's place, whatever name is asked for. */
      const leaking = (scope: Scope): NamespaceTrial => {
        const { schema, prefix } = placeOf(scope)
        const misread = (text: string) =>
          text.replaceAll(/(?:"__tenant__"\.)?"(__tenancy_canary[^"]*)"/g, `"${schema}"."${prefix}$1"`)
        const over = (client: object) => ({
          query: (text: string, parameters: unknown[]) =>
            (client as { query(text: string, parameters: unknown[]): unknown }).query(misread(text), parameters),
        })
        const admin = async (work: (query: DatabaseServer['admin']['query']) => Promise<unknown>) => {
          const client = new pg.Client({
            connectionString: host.urlOf(strategy === 'database' ? scope.namespace : host.database, 'admin'),
          })
          await client.connect()
          try {
            await client.query('begin')
            const result = await work(
              async <TRow>(text: string, parameters?: readonly unknown[]) =>
                (await client.query(text, [...(parameters ?? [])])).rows as TRow[],
            )
            await client.query('commit')
            return result
          } finally {
            await client.end()
          }
        }
        return {
          server: {
            admin: server.admin,
            client: () => over(server.client(scope, open)),
            lazyTransaction: () => {
              const { client, commit, rollback } = server.lazyTransaction(scope, open)
              return { client: over(client), commit, rollback }
            },
          },
          scope,
          shared: sharedSchemas,
          inside: admin as never,
          unscoped: ((work: (query: DatabaseServer['admin']['query']) => Promise<unknown>) =>
            admin(async (query) => {
              await query(`set local search_path to "${schema}"`)
              return work((text, parameters) => query(misread(text), parameters))
            })) as never,
        }
      }
      const failedOf = (report: VerifyReport) => {
        const names = report.checks.filter(({ ok }) => !ok).map((check) => check.name)
        for (const one of names) red.add(one)
        return names
      }

      it('goes red when everybody is led to one tenant', async () => {
        const scope = await newTenant()
        const found = failedOf(await verifyNamespace(leaking(scope)))
        expect(found).toEqual(
          expect.arrayContaining([
            'scope',
            ...['read', 'insert', 'update', 'delete'].map((verb) => `no tenant: ${verb}`),
          ]),
        )
        expect(found.filter((one) => one.startsWith('another tenant'))).toHaveLength(strategy === 'database' ? 0 : 5)
        expect(found.filter((one) => one.endsWith('by a plain name'))).toHaveLength(strategy === 'prefix' ? 4 : 0)
        expect(await failed(scope)).toEqual([])
      })

      it('goes red when the serving role is a superuser', async () => {
        const scope = await newTenant()
        await asSuperuser(host, (client) => client.query(`alter role ${host.appRole} superuser`))
        const own = ['change its table', 'drop its table', 'truncate'].map((what) => `its own tenant: ${what}`)
        expect(await failed(scope)).toEqual([
          ...(strategy === 'database' ? ['database rights'] : []),
          'serving role',
          'owner',
          ...own,
        ])
        failedOf(await verifyNamespace(leaking(scope)))
      })

      it.runIf(name === 'postgres18')('has seen every check red', async () => {
        const { checks } = await verify(await newTenant())
        expect(checks.map(({ name: one }) => one).filter((one) => !red.has(one))).toEqual([])
      })

      it('does not mistake an exhausted pool, a refused login or a lost canary for a breach', async () => {
        const small = testServer(host, {
          strategies: [strategy],
          databaseTemplate: host.template,
          poolSize: 1,
          maxTenantConnections: 2,
          tenantPoolSize: 1,
          poolTimeout: 1,
        })
        await small.open()
        const scope = await newTenant(small)
        const holding = small.lazyTransaction(scope, open)
        await (holding.client as { query(text: string): Promise<unknown> }).query('select 1')
        await expect(small.verify(scope)).rejects.toMatchObject({ code: 'TENANCY_ERR_POOL_TIMEOUT' })
        await holding.rollback()
        await asSuperuser(host, (client) => client.query(`alter role ${host.appRole} nologin`))
        await asSuperuser(host, (client) =>
          client.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${host.appRole}'`),
        )
        // The first may still meet a connection that is being ended.
        await vi.waitFor(
          () =>
            expect(small.verify(scope)).rejects.toMatchObject({
              code: 'TENANCY_ERR_DATABASE_UNAVAILABLE',
              cause: { code: '28000' },
            }),
          10_000,
        )
        await asSuperuser(host, (client) => client.query(`alter role ${host.appRole} login`))
        expect(await failed(scope, small)).toEqual([])
        await small.close()
      })

      it('lets a tenant refer to a table that all share, and not the other way round', async () => {
        const scope = await newTenant()
        const place = placeOf(scope)
        await inside(
          scope,
          `create schema common; comment on schema common is 'fastify-tenancy shared tables'; create table common.plans (id int primary key);
           alter table ${items(place)} add foreign key (id) references common.plans not valid`,
        )
        try {
          expect(await failed(scope)).toEqual([])
          await inside(scope, `alter table common.plans add foreign key (id) references ${items(place)}`)
          expect(await failed(scope)).toEqual(['ties'])
        } finally {
          await inside(scope, 'drop schema common cascade')
        }
      })

      it('removes what a crash left, an hour later, and nothing that only looks like it', async () => {
        const scope = await newTenant()
        const { schema, prefix } = placeOf(scope)
        const names = [Date.now() - 3_700_000, Date.now() - 3_000_000].map(
          (born) => `__tenancy_canary_${born.toString(36)}_0a1b2c`,
        )
        for (const one of [...names, '__tenancy_canary_mine'])
          await inside(scope, `create table "${schema}"."${prefix}${one}" (id int)`)
        await verify(scope)
        const { rows } = await inside(
          scope,
          `select relname from pg_class where relnamespace = '${schema}'::regnamespace and relname like '${prefix}%canary%'`,
        )
        expect(rows.map(({ relname }) => (relname as string).slice(prefix.length)).toSorted()).toEqual(
          [String(names[1]), '__tenancy_canary_mine'].toSorted(),
        )
      })
    })
  })
}

for (const name of ['postgres15', 'postgres18'] as const) {
  describeWith([name], `[W52] verify and doctor with a role per tenant on ${name}`, (servers) => {
    it('are green behind the wall, and red when it has a hole', async () => {
      const database = await baselineDatabase(servers[name].url, { tenantRoles: true })
      const server = testServer(database, { shared: { ...sharedSchemas, tenantRoles: true } })
      await server.open()
      const scope = placedScope(namespaceStrategy('schema'))
      await migrateNamespace({ server, scope, migrations: [migrationOf('create table items (id int primary key)')] })
      const failed = async () => (await server.verify(scope)).checks.filter(({ ok }) => !ok).map((check) => check.name)
      expect(await failed()).toEqual([])
      const report = await diagnose(server, ['schema'], { tenantRoles: true })
      expect(report.findings.filter(({ severity }) => severity === 'error')).toEqual([])
      expect(report.promises).toMatchObject([{ strategy: 'schema', level: 'walled' }])
      const admin = (text: string) => asSuperuser(database, (client) => client.query(text))
      await admin(
        `grant usage on schema ${scope.namespace} to ${database.appRole};
         alter default privileges for role ${database.ownerRole} in schema ${scope.namespace} grant select, update, delete on tables to ${database.appRole}`,
      )
      expect(await failed()).toEqual(['read', 'update', 'delete'].map((verb) => `no tenant: ${verb} by its full name`))
      await server.close()
      await database.drop()
    })
  })
}

describe('[W52] verify on PGlite', () => {
  const server = createPgliteServer({
    folder: undefined,
    registrySchema: 'tenancy',
    shared: sharedSchemas,
    poolTimeout: 10,
    onStatement: undefined,
  })
  beforeAll(() => server.open())
  afterAll(() => server.close())

  it.each(['schema', 'prefix'] as const)('%s is green, and red when everybody may use it', async (strategy) => {
    const scope = await provisionScope(server, [], placedScope(namespaceStrategy(strategy)))
    const failed = async () => (await server.verify(scope)).checks.filter(({ ok }) => !ok).map(({ name }) => name)
    expect(await failed()).toEqual([])
    const schema = strategy === 'prefix' ? 'prefixed' : scope.namespace
    await server.admin.query(`grant usage on schema "${schema}" to public`)
    expect(await failed()).toEqual(['rights'])
  })

  it('rls is green, and red without its restrictive policy', async () => {
    const scope = placedScope(rlsStrategy())
    await migrateNamespace({ server, scope, migrations: [migrationOf(ITEMS)] })
    const failed = async () => (await server.verify(scope)).checks.filter(({ ok }) => !ok).map(({ name }) => name)
    expect(await failed()).toEqual([])
    await server.admin.query('alter table rls.items disable row level security')
    expect(await failed()).toEqual(['enabled'])
  })
})
