import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { grantFaults } from '../../src/dialects/mysql/verify/faults.ts'
import { verifyScope } from '../../src/dialects/mysql/verify/verify-scope.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope } from '../support/database.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { migrationOf } from '../support/rls.ts'

interface Place {
  readonly database: string
  readonly prefix: string
  readonly user: string
}

/** Ways to break it, run as root, and the checks that must find out. */
const breakages: Record<
  string,
  { text: (place: Place) => string[]; red: readonly string[]; mend?: (place: Place) => string[] }
> = {
  'there is no ledger': {
    text: ({ database, prefix }) => [`drop table \`${database}\`.\`${prefix}__drizzle_migrations\``],
    red: ['namespace'],
  },
  'the ledger is that of another tenant': {
    text: ({ database, prefix }) => [
      `alter table \`${database}\`.\`${prefix}__drizzle_migrations\` comment = 'fastify-tenancy tenant 0'`,
    ],
    red: ['namespace'],
  },
  'the serving account has rights on other databases': {
    text: ({ database, user }) => [`grant select on \`${database.slice(0, 8)}%\`.* to ${user}@'%'`],
    red: ['rights'],
    mend: ({ database, user }) => [`revoke select on \`${database.slice(0, 8)}%\`.* from ${user}@'%'`],
  },
  'the serving account may drop tables': {
    text: ({ database, user }) => [`grant drop on \`${database.replace(/_/g, '\\_')}\`.* to ${user}@'%'`],
    red: ['rights'],
    mend: ({ database, user }) => [`revoke drop on \`${database.replace(/_/g, '\\_')}\`.* from ${user}@'%'`],
  },
  'the serving account has a right on a table': {
    text: ({ database, prefix, user }) => [`grant trigger on \`${database}\`.\`${prefix}items\` to ${user}@'%'`],
    red: ['rights'],
    mend: ({ database, prefix, user }) => [`revoke trigger on \`${database}\`.\`${prefix}items\` from ${user}@'%'`],
  },
  'the serving account may do everything': {
    text: ({ user }) => [`grant process on *.* to ${user}@'%'`],
    red: ['serving account'],
    mend: ({ user }) => [`revoke process on *.* from ${user}@'%'`],
  },
  'a table elsewhere refers to one of the tenant': {
    text: ({ database, prefix }) => [
      'create database elsewhere',
      `create table elsewhere.child (item int, foreign key (item) references \`${database}\`.\`${prefix}items\` (id))`,
    ],
    red: ['ties'],
    mend: () => ['drop database elsewhere'],
  },
}

describeWith(['mariadb'], '[W52] verify on MariaDB', ({ mariadb }) => {
  let database: MysqlDatabase
  let server: DatabaseServer
  beforeAll(async () => {
    database = await mysqlDatabase(mariadb.url)
    server = mysqlServer(database)
    await server.open()
    // To see keys from elsewhere takes rights on those tables.
    await asRoot(database.superUrl, [`grant references, select on *.* to ${database.adminUser}@'%'`])
  })
  afterAll(async () => {
    await server?.close()
    await database?.drop()
  })

  describe.each(['schema', 'database', 'prefix'] as const)('%s', (strategy) => {
    const red = new Set<string>()
    const newTenant = async (): Promise<Scope> => {
      const scope = placedScope(namespaceStrategy(strategy))
      await migrateNamespace({
        server,
        scope,
        migrations: [migrationOf('create table `items` (`id` int primary key)')],
      })
      return scope
    }
    const placeOf = ({ namespace }: Scope): Place => ({
      database: strategy === 'prefix' ? database.database : namespace,
      prefix: strategy === 'prefix' ? `${namespace}__` : '',
      user: database.servingUser,
    })
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
      const tables = await asRoot<object>(database.superUrl, [`show tables from \`${placeOf(scope).database}\``])
      const names = tables
        .map((row) => String(Object.values(row)[0]))
        .filter((one) => one.startsWith(placeOf(scope).prefix))
      expect(names.map((one) => one.slice(placeOf(scope).prefix.length)).toSorted()).toEqual([
        '__drizzle_migrations',
        'items',
      ])
    })

    it.each(Object.entries(breakages))('goes red when %s', async (_what, { text, red: expected, mend }) => {
      const scope = await newTenant()
      expect(await failed(scope)).toEqual([])
      await asRoot(database.superUrl, text(placeOf(scope)))
      try {
        expect(await failed(scope)).toEqual(expected)
      } finally {
        if (mend) await asRoot(database.superUrl, mend(placeOf(scope)))
      }
      await server.destroy(scope).catch(() => {})
    })

    it('goes red when everybody is led to one tenant', async () => {
      const scope = await newTenant()
      const { database: where, prefix } = placeOf(scope)
      const misread = (text: string) =>
        text.replaceAll(/(?:`__tenant__`\.)?`(__tenancy_canary[^`]*)`/g, `\`${where}\`.\`${prefix}$1\``)
      const over = (client: object) => ({
        query: (text: string) => (client as { query(text: string): unknown }).query(misread(text)),
      })
      const report = await verifyScope({
        scope,
        shared: database.database,
        registrySchema: 'tenancy',
        accounts: { serving: 'a', admin: 'a' },
        administering: (work) => work(server.admin.query),
        unscoped: async (work) =>
          work(async (text, parameters) =>
            text.startsWith('select database()')
              ? ([{ name: where, mode: 'ANSI_QUOTES' }] as never)
              : server.admin.query(misread(text), parameters),
          ),
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
      expect(found).toEqual(
        expect.arrayContaining(['serving account', 'session', 'its own tenant: read by a plain name']),
      )
    })

    it('has seen every check red that the database decides', async () => {
      const { checks } = await server.verify(await newTenant())
      // The library itself refuses these before anything is sent.
      const ours = ['change its table', 'drop its table', 'truncate'].map((what) => `its own tenant: ${what}`)
      const owns = ['read outside of a transaction', 'read', 'update', 'delete', 'refer to a row', 'refer to no row']
      const own = owns.map((what) => `its own tenant: ${what}`)
      expect(checks.map(({ name }) => name).filter((one) => !red.has(one))).toEqual([
        ...own,
        ...ours,
        'another tenant: refer to it',
      ])
    })

    it('does not mistake an exhausted pool or a refused login for a breach', async () => {
      const small = mysqlServer(database, { poolSize: 1, poolTimeout: 1 })
      await small.open()
      const scope = await newTenant()
      const holding = small.lazyTransaction(scope, open)
      await (holding.client as { query(text: string): Promise<unknown> }).query('select 1')
      await expect(small.verify(scope)).rejects.toMatchObject({ code: 'TENANCY_ERR_POOL_TIMEOUT' })
      await holding.rollback()
      await small.close()
      const locked = mysqlServer({ ...database, url: database.url.replace('p%40', 'q%40') })
      await expect(locked.open()).rejects.toMatchObject({
        code: 'TENANCY_ERR_DATABASE_UNAVAILABLE',
        cause: { errno: 1045 },
      })
    })
  })

  it('a grant of another database is nobody’s business here', () => {
    const layout = { database: 'ta', own: true, naming: { qualifier: ['ta'], prefix: '' } }
    const faults = (...grants: string[]) => grantFaults(grants, layout).length
    expect(
      faults('GRANT SELECT, INSERT, UPDATE, DELETE ON `ta`.* TO `a`@`%`', 'GRANT ALL PRIVILEGES ON `tb`.* TO `a`@`%`'),
    ).toBe(0)
    expect(faults('GRANT SELECT ON `t_`.* TO `a`@`%`')).toBe(1)
    expect(faults('GRANT SELECT ON `t\\_`.* TO `a`@`%`')).toBe(0)
    expect(faults('GRANT SELECT ON `ta`.`x` TO `a`@`%`')).toBe(1)
    expect(faults('GRANT SELECT, DROP ON `ta`.* TO `a`@`%`')).toBe(1)
  })
})
