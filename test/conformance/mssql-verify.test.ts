import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { verifyScope } from '../../src/dialects/mssql/verify/verify-scope.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { open, placedScope } from '../support/database.ts'
import {
  asSuper,
  describeMssql,
  hasPolicies,
  type MssqlDatabase,
  mssqlDatabase,
  mssqlServer,
  sharedSchemas,
} from '../support/mssql.ts'
import { migrationOf } from '../support/rls.ts'

// A server may be slow at its catalogue.
vi.setConfig({ testTimeout: 120_000 })

interface Place {
  /** The full name of a table of the tenant. */
  readonly table: (name: string) => string
  readonly schema: string
  readonly user: string
}

/** Ways to break it, run as superuser in the tenant's database, and the checks that must find out. */
const breakages: Record<
  string,
  {
    text: (place: Place) => string[]
    red: readonly string[]
    mend?: (place: Place) => string[]
    /** What only speaks T-SQL has no members of that role. */
    fixedRole?: true
  }
> = {
  'there is no ledger': {
    text: ({ table }) => [`drop table ${table('__drizzle_migrations')}`],
    red: ['namespace'],
  },
  'the serving login reads the ledger': {
    text: ({ table, user }) => [`grant select on ${table('__drizzle_migrations')} to [${user}]`],
    red: ['rights'],
  },
  'the serving login may refer to a table': {
    text: ({ table, user }) => [`grant references on ${table('items')} to [${user}]`],
    red: ['rights'],
  },
  'the serving login is in a role that has more': {
    text: ({ table, user }) => [
      'create role [helpers]',
      `grant references on ${table('items')} to [helpers]`,
      `alter role [helpers] add member [${user}]`,
    ],
    red: ['rights'],
    mend: ({ table, user }) => [
      `alter role [helpers] drop member [${user}]`,
      `revoke references on ${table('items')} from [helpers]`,
      'drop role [helpers]',
    ],
  },
  'the serving login owns the database': {
    text: ({ user }) => [`alter role [db_owner] add member [${user}]`],
    red: ['serving login', 'rights'],
    fixedRole: true,
    mend: ({ user }) => [`alter role [db_owner] drop member [${user}]`],
  },
  'a table elsewhere refers to one of the tenant': {
    text: ({ table }) => [
      'create schema [elsewhere]',
      `create table [elsewhere].[child] (item int references ${table('items')} (id))`,
    ],
    red: ['ties'],
    mend: () => ['drop table [elsewhere].[child]', 'drop schema [elsewhere]'],
  },
}

describeMssql('[W52] verify on SQL Server', (url) => {
  let database: MssqlDatabase
  let server: DatabaseServer
  const databases: string[] = []
  beforeAll(async () => {
    database = await mssqlDatabase(url)
    server = mssqlServer(database)
    await server.open()
  })
  afterAll(async () => {
    await server?.close()
    await database?.drop(databases)
  })
  const inDatabase = (name: string, ...statements: string[]) => {
    const target = new URL(database.superUrl)
    target.pathname = `/${name}`
    return asSuper<{ name: string }>(target.href, statements)
  }

  describe.each(['schema', 'database', 'prefix'] as const)('%s', (strategy) => {
    const red = new Set<string>()
    const newTenant = async (): Promise<Scope> => {
      const scope = placedScope(namespaceStrategy(strategy))
      if (strategy === 'database') databases.push(scope.namespace)
      const migrations = [migrationOf('create table [items] ([id] int primary key)')]
      await migrateNamespace({ server, scope, migrations })
      return scope
    }
    const placeOf = ({ namespace }: Scope): Place => {
      const schema = { schema: namespace, database: 'dbo', prefix: 'prefixed' }[strategy]
      const prefix = strategy === 'prefix' ? `${namespace}__` : ''
      return { schema, table: (name) => `[${schema}].[${prefix}${name}]`, user: database.servingLogin }
    }
    const home = ({ namespace }: Scope) => (strategy === 'database' ? namespace : database.database)
    const failed = async (scope: Scope, on = server) => {
      const report = await on.verify(scope)
      const names = report.checks.filter(({ ok }) => !ok).map(({ name }) => name)
      expect(report.ok).toBe(names.length === 0)
      for (const one of names) red.add(one)
      return names
    }

    it('is green where it holds, several at once, and leaves nothing behind', async () => {
      const scope = await newTenant()
      expect(await Promise.all([failed(scope), failed(scope), failed(scope)])).toEqual([[], [], []])
      const tables = await inDatabase(
        home(scope),
        `select t.name from sys.tables t join sys.schemas s on s.schema_id = t.schema_id where s.name = '${placeOf(scope).schema}'`,
      )
      expect(tables.filter(({ name }) => name.includes('canary'))).toEqual([])
    })

    it.each(Object.entries(breakages))('goes red when %s', async (_what, { text, red: expected, mend, fixedRole }) => {
      if (fixedRole && !hasPolicies) return
      const scope = await newTenant()
      expect(await failed(scope)).toEqual([])
      await inDatabase(home(scope), ...text(placeOf(scope)))
      try {
        const found = await failed(scope)
        // In a database of its own the serving login is another user than in the one that it is asked in.
        expect(found).toEqual(strategy === 'database' ? expected.filter((name) => name !== 'serving login') : expected)
      } finally {
        if (mend) await inDatabase(home(scope), ...mend(placeOf(scope)))
      }
    })

    it.skipIf(!hasPolicies)('goes red when a view elsewhere reads it', async () => {
      const scope = await newTenant()
      await inDatabase(home(scope), `create view [dbo].[v] as select [id] from ${placeOf(scope).table('items')}`)
      try {
        // In a database of its own `dbo` is the tenant's.
        expect(await failed(scope)).toEqual(strategy === 'database' ? [] : ['ties'])
      } finally {
        await inDatabase(home(scope), 'drop view [dbo].[v]')
      }
    })

    it('goes red when the namespace is that of another tenant', async () => {
      const scope = await newTenant()
      expect(await failed({ ...scope, tenantId: (await newTenant()).tenantId })).toEqual(['namespace'])
      await server.destroy(scope)
      expect(await failed(scope)).toEqual(['namespace'])
    })

    // What is done in a database of its own takes a connection that goes there.
    it.skipIf(strategy === 'database')('goes red when everybody is led to one tenant', async () => {
      const scope = await newTenant()
      const { table } = placeOf(scope)
      const misread = (text: string) =>
        text.replaceAll(/(?:\[__tenant__\]\.)?\[(__tenancy_canary[^\]]*)\]/g, (_all, name: string) => table(name))
      const over = (client: object) => ({
        request: () => ({
          query: (text: string) =>
            (client as { request(): { query(text: string): unknown } }).request().query(misread(text)),
        }),
      })
      const report = await verifyScope({
        scope,
        rights: { servingUser: database.servingLogin, shared: sharedSchemas },
        adminLogin: database.adminLogin,
        registrySchema: 'tenancy',
        main: database.database,
        administering: (work) => server.admin.transaction((query) => work({ query, use: async () => {} })),
        unscoped: async (work) => work((text, parameters) => server.admin.query(misread(text), parameters)),
        asTenants: () => Promise.reject(new Error('not asked here')),
        server: {
          client: () => over(server.client(scope, open)),
          lazyTransaction: () => {
            const { client, commit, rollback } = server.lazyTransaction(scope, open)
            return { client: over(client), commit, rollback }
          },
        },
      })
      const found = report.checks.filter(({ ok }) => !ok).map(({ name }) => name)
      for (const one of found) red.add(one)
      for (const who of ['another tenant', 'no tenant'])
        for (const verb of ['read', 'insert', 'update', 'delete']) expect(found).toContain(`${who}: ${verb}`)
      expect(found).toContain('its own tenant: read by a plain name')
    })

    it('does not mistake an exhausted pool for a breach', async () => {
      const small = mssqlServer(database, { poolSize: 1, poolTimeout: 1 })
      await small.open()
      const scope = await newTenant()
      const holding = small.lazyTransaction(scope, open)
      await (holding.client as { request(): { query(text: string): Promise<unknown> } })
        .request()
        .query('select 1 as x')
      await expect(small.verify(scope)).rejects.toMatchObject({ code: 'TENANCY_ERR_POOL_TIMEOUT' })
      await holding.rollback()
      await small.close()
    })
  })

  describe.skipIf(!hasPolicies)('rls', () => {
    let policed: DatabaseServer
    const scope = placedScope(rlsStrategy())
    beforeAll(async () => {
      policed = mssqlServer(database, { strategies: ['rls'] })
      await policed.open()
      const items =
        'create table [items] ([tenant_id] uniqueidentifier not null, [id] int not null, constraint [items_pkey] primary key ([tenant_id], [id]))'
      await migrateNamespace({ server: policed, scope, migrations: [migrationOf(items)] })
    })
    afterAll(() => policed?.close())
    const failed = async () => {
      const { checks } = await policed.verify(scope)
      return checks.filter(({ ok }) => !ok).map(({ name }) => name)
    }

    it('is green where policies hold, several at once', async () => {
      expect(await Promise.all([failed(), failed()])).toEqual([[], []])
    })

    it.each([
      [
        'the policy of a table is off',
        'alter security policy [rls].[__tenancy_items] with (state = off)',
        ['policies'],
      ],
      ['the policy of a table is gone', 'drop security policy [rls].[__tenancy_items]', ['policies']],
      ['a table comes without one', 'create table [rls].[bare] ([tenant_id] uniqueidentifier not null)', ['policies']],
    ])('goes red when %s', async (_what, text, expected) => {
      await inDatabase(database.database, text)
      try {
        expect(await failed()).toEqual(expected)
      } finally {
        await inDatabase(database.database, 'drop table if exists [rls].[bare]')
        await migrateNamespace({ server: policed, scope, migrations: [] })
      }
      expect(await failed()).toEqual([])
    })

    it('goes red when the policy of the canary is off', async () => {
      await failed()
      await inDatabase(database.database, 'alter security policy [rls].[__tenancy___tenancy_canary] with (state = off)')
      const found = await failed()
      for (const verb of ['read', 'update', 'delete', 'insert']) expect(found).toContain(`another tenant: ${verb}`)
      await migrateNamespace({ server: policed, scope, migrations: [] })
      expect(await failed()).toEqual([])
    })
  })
})
