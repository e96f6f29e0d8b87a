import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { Migration } from '../../src/contracts/migrator.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { open, placedScope } from '../support/database.ts'
import { asSuper, describeMssql, type MssqlDatabase, mssqlDatabase, mssqlServer } from '../support/mssql.ts'

let made = 0
const migration = (name: string, ...statements: string[]): Migration => ({
  name,
  file: `drizzle/${name}.sql`,
  hash: `hash of ${name}`,
  createdAt: ++made,
  statements,
})
const init = migration(
  '0000_init',
  'CREATE TABLE [parents] ([id] int, CONSTRAINT [parents_pkey] PRIMARY KEY([id]));',
  'CREATE TABLE [children] ([id] int, [parent] int, CONSTRAINT [children_pkey] PRIMARY KEY([id]));',
  'ALTER TABLE [children] ADD CONSTRAINT [children_fk] FOREIGN KEY ([parent]) REFERENCES [parents]([id]);',
  'CREATE VIEW [all_parents] AS select [id] from [parents];',
)
const broken = migration('0001_broken', 'CREATE TABLE [one] ([id] int);', 'ALTER TABLE [nowhere] ADD [x] int;')

interface Client {
  request(): { query(text: string): Promise<{ recordset: Record<string, unknown>[] }> }
}

describeMssql('namespaces on SQL Server', (url) => {
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
  const migrate = (scope: Scope, ...migrations: Migration[]) => migrateNamespace({ server, scope, migrations })
  const inDatabase = (name: string, ...statements: string[]) => {
    const target = new URL(database.superUrl)
    target.pathname = `/${name}`
    return asSuper<Record<string, unknown>>(target.href, statements)
  }

  describe.each(['schema', 'database', 'prefix'] as const)('%s', (strategy) => {
    const newScope = () => {
      const scope = placedScope(namespaceStrategy(strategy))
      if (strategy === 'database') databases.push(scope.namespace)
      return scope
    }
    const home = ({ namespace }: Scope) => (strategy === 'database' ? namespace : database.database)
    const nameIn = ({ namespace }: Scope, name: string) =>
      ({
        schema: `[${namespace}].[${name}]`,
        database: `[dbo].[${name}]`,
        prefix: `[prefixed].[${namespace}__${name}]`,
      })[strategy]
    const exists = async (scope: Scope) =>
      strategy === 'database'
        ? (await asSuper(database.superUrl, [`select 1 as x from sys.databases where name = '${scope.namespace}'`]))
            .length > 0
        : (await inDatabase(database.database, `select 1 as x from sys.schemas where name = '${scope.namespace}'`))
            .length > 0 || (await tables(scope)).length > 0
    const tables = (scope: Scope) =>
      inDatabase(
        home(scope),
        `select s.name + '.' + t.name as name from sys.tables t join sys.schemas s on s.schema_id = t.schema_id
         where s.name + '.' + t.name like '%${strategy === 'database' ? 'dbo.' : scope.namespace}%'`,
      )
    const rows = (scope: Scope, text: string) => (server.client(scope, open) as Client).request().query(text)

    it('is made once, and a second run finds it', async () => {
      const scope = newScope()
      expect(await migrate(scope, init)).toMatchObject({ created: true, applied: ['0000_init'], skipped: 0 })
      expect(await migrate(scope, init)).toMatchObject({ created: false, applied: [], skipped: 1 })
      const more = migration('0001_more', 'ALTER TABLE [parents] ADD [x] nvarchar(9);')
      expect(await migrate(scope, init, more)).toMatchObject({ created: false, applied: ['0001_more'], skipped: 1 })
      expect(await tables(scope)).toHaveLength(3)
    })

    it('a failure undoes everything of the run, and what was there before stays', async () => {
      const [scope, stranger] = [newScope(), newScope()]
      await migrate(stranger, init)
      await expect(migrate(scope, init, broken)).rejects.toMatchObject({ code: 'TENANCY_ERR_MIGRATION_FAILED' })
      expect(await exists(scope)).toBe(false)
      expect(await migrate(scope, init)).toMatchObject({ created: true })
      await expect(migrate(scope, init, broken)).rejects.toMatchObject({ code: 'TENANCY_ERR_MIGRATION_FAILED' })
      expect(await tables(scope)).toHaveLength(3)
      expect(await tables(stranger)).toHaveLength(3)
    })

    it('of somebody else is never taken, nor destroyed', async () => {
      const scope = newScope()
      await migrate(scope, init)
      const impostor = { ...scope, tenantId: newScope().tenantId }
      const code = { code: 'TENANCY_ERR_NAMESPACE_EXISTS' }
      await expect(migrate(impostor, init)).rejects.toMatchObject(code)
      await expect(server.destroy(impostor)).rejects.toMatchObject(code)
      expect(await tables(scope)).toHaveLength(3)
    })

    it('gives the serving login rows and nothing else, and not the ledger', async () => {
      const scope = newScope()
      await migrate(scope, init)
      await rows(scope, 'insert into [__tenant__].[parents] ([id]) values (1)')
      expect((await rows(scope, 'select [id] from [__tenant__].[all_parents]')).recordset).toEqual([{ id: 1 }])
      await expect(rows(scope, 'select * from [__tenant__].[__drizzle_migrations]')).rejects.toThrow()
    })

    it('[W7] destroying removes exactly it, and counts', async () => {
      const [scope, stranger] = [newScope(), newScope()]
      await migrate(scope, init)
      await migrate(stranger, init)
      const { objects, rows: removed } = await server.destroy(scope)
      expect(objects).toBeGreaterThanOrEqual(4)
      expect(removed).toBe(0)
      expect(await exists(scope)).toBe(false)
      expect(await server.destroy(scope)).toEqual({ objects: 0, rows: 0 })
      expect(await tables(stranger)).toHaveLength(3)
      expect(await migrate(scope, init)).toMatchObject({ created: true })
    })

    it('[W49] takes turns', async () => {
      const scope = newScope()
      const runs = await Promise.all([1, 2, 3].map(() => migrate(scope, init)))
      expect(runs.filter(({ created }) => created)).toHaveLength(1)
      expect(await tables(scope)).toHaveLength(3)
    }, 60_000)

    it('renames', async () => {
      if (strategy !== 'schema') return
      const scope = newScope()
      await migrate(scope, init, migration('0001_rename', "EXEC sp_rename 'parents.id', [key], 'COLUMN';"))
      expect((await rows(scope, 'select [key] from [__tenant__].[parents]')).recordset).toEqual([])
    })

    if (strategy !== 'database') {
      it('[W20] destroying stops where a table of somebody else refers to one of it', async () => {
        const scope = newScope()
        await migrate(scope, init)
        const stranger = `[dbo].[stranger_${strategy}]`
        await inDatabase(home(scope), `create table ${stranger} (id int references ${nameIn(scope, 'parents')} (id))`)
        await expect(server.destroy(scope)).rejects.toMatchObject({ code: 'TENANCY_ERR_DESTROY_INCOMPLETE' })
        expect(await tables(scope)).toHaveLength(3)
        await inDatabase(home(scope), `drop table ${stranger}`)
        expect((await server.destroy(scope)).objects).toBeGreaterThanOrEqual(3)
      })
    }

    it('that nobody marked is nobody’s', async () => {
      const scope = newScope()
      const code = { code: 'TENANCY_ERR_NAMESPACE_EXISTS' }
      if (strategy === 'database') {
        await asSuper(database.superUrl, [`create database [${scope.namespace}]`])
        await inDatabase(scope.namespace, 'create table [dbo].[parents] (id int)')
      } else if (strategy === 'schema') await inDatabase(home(scope), `create schema [${scope.namespace}]`)
      else await inDatabase(home(scope), `create table ${nameIn(scope, 'parents')} (id int)`)
      await expect(migrate(scope, init)).rejects.toMatchObject(code)
      await expect(server.destroy(scope)).rejects.toMatchObject(code)
    })
  })

  it('warns of a serving login that reaches more than rows of tenants', async () => {
    await inDatabase(
      database.database,
      'create table [dbo].[found] (id int)',
      `grant select on [dbo].[found] to [${database.servingLogin}]`,
    )
    const careless = mssqlServer(database)
    expect(await careless.open()).toEqual([expect.stringContaining('dbo.found')])
    await careless.close()
    await inDatabase(database.database, 'drop table [dbo].[found]')
    const one = mssqlServer(database, { url: database.adminUrl })
    const warnings = await one.open()
    expect(warnings).toEqual(expect.arrayContaining([expect.stringContaining('is the admin login too')]))
    const scope = placedScope(namespaceStrategy('schema'))
    await migrateNamespace({ server: one, scope, migrations: [init] })
    expect(
      (await (one.client(scope, open) as Client).request().query('select * from [__tenant__].[parents]')).recordset,
    ).toEqual([])
    await one.close()
    const shared = mssqlServer(database, { url: database.adminUrl, strategies: ['rls'] })
    await expect(shared.open()).rejects.toMatchObject({ code: 'TENANCY_ERR_RLS_BYPASSED' })
  })

  it('gives a row key to one tenant, whatever registry it is of, and destroys nothing for another', async () => {
    const shared = mssqlServer(database, { strategies: ['rls'] })
    await shared.open()
    // Without tables nothing is needed that only Microsoft's has.
    const run = (scope: Scope) => migrateNamespace({ server: shared, scope, migrations: [] })
    const one = placedScope(rlsStrategy())
    const twins = [1, 2, 3].map(() => ({ ...placedScope(rlsStrategy()), settings: one.settings }))
    const taken = { code: 'TENANCY_ERR_TENANT_EXISTS' }
    const results = await Promise.allSettled([one, ...twins].map(run))
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const [i, scope] of [one, ...twins].entries()) {
      const owns = results[i]?.status === 'fulfilled'
      if (owns) expect(await run(scope)).toMatchObject({ created: false })
      else await expect(run(scope)).rejects.toMatchObject(taken)
      const destroyed = shared.destroy(scope)
      if (owns) expect(await destroyed).toEqual({ objects: 0, rows: 0 })
      else await expect(destroyed).rejects.toMatchObject({ code: 'TENANCY_ERR_DESTROY_INCOMPLETE' })
    }
    // For ever: also when nobody has it any more.
    const again = { ...placedScope(rlsStrategy()), settings: one.settings }
    await expect(run(again)).rejects.toMatchObject(taken)
    // But for one that never was, which gives back its own and no other.
    await shared.release?.(again)
    await expect(run(again)).rejects.toMatchObject(taken)
    for (const [i, scope] of [one, ...twins].entries())
      if (results[i]?.status === 'fulfilled') await shared.release?.(scope)
    expect(await run(again)).toMatchObject({ created: false })
    const text = `select * from [rls].[__tenancy_row_keys]`
    await expect((shared.client(one, open) as Client).request().query(text)).rejects.toThrow()
    await shared.close()
  })

  it('needs one database, the same for both logins', async () => {
    const elsewhere = new URL(database.adminUrl)
    elsewhere.pathname = '/master'
    await expect(mssqlServer(database, { adminUrl: elsewhere.href }).open()).rejects.toMatchObject({
      code: 'TENANCY_ERR_CONFIG_INVALID',
    })
  })
})
