import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../../src/contracts/dialect.ts'
import type { Scope } from '../../../src/contracts/isolation.ts'
import type { Migration } from '../../../src/contracts/migrator.ts'
import { namespaceStrategy } from '../../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../../src/migrations/runner.ts'
import { type RunningMariadb, startMariadb } from '../../servers/mariadb.ts'
import { describeWith } from '../../servers/suite.ts'
import { open, placedScope } from '../../support/database.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase, mysqlServer } from '../../support/mysql.ts'

const migration = (name: string, ...statements: string[]): Migration => ({
  name,
  file: `drizzle/${name}.sql`,
  hash: `hash of ${name}`,
  createdAt: 1,
  statements,
})
const parents = 'create table `parents` (`id` int primary key)'
const children = 'create table `children` (`id` int primary key, `parent` int references `parents`(`id`))'
const view = 'create view `all_parents` as (select `id` from `parents`)'
const init = migration('0000_init', parents, children, view)

interface Client {
  query(text: string): Promise<[Record<string, unknown>[]]>
}

describeWith(['mariadb'], 'namespaces on MariaDB', () => {
  /** Its own: what is set for a whole server is everybody's. */
  let own: RunningMariadb
  let database: MysqlDatabase
  let server: DatabaseServer
  beforeAll(async () => {
    own = await startMariadb()
    database = await mysqlDatabase(own.url)
    server = mysqlServer(database)
    await server.open()
  })
  afterAll(async () => {
    await server?.close()
    await own?.stop()
  })
  const root = <T>(...statements: string[]) => asRoot<T>(database.superUrl, statements)
  const migrate = (scope: Scope, ...migrations: Migration[]) => migrateNamespace({ server, scope, migrations })
  const clientOf = (scope: Scope) => server.client(scope, open) as Client
  const databases = async (like: string) => (await root(`show databases like '${like}'`)).length

  describe.each(['schema', 'database', 'prefix'] as const)('%s', (strategy) => {
    const newScope = () => placedScope(namespaceStrategy(strategy))
    const own = strategy !== 'prefix'
    const nameIn = ({ namespace }: Scope, name: string) =>
      own ? `\`${namespace}\`.\`${name}\`` : `\`${database.database}\`.\`${namespace}__${name}\``
    const objects = async ({ namespace }: Scope) =>
      own
        ? (await databases(namespace)) === 0
          ? []
          : root(`show tables from ${namespace}`)
        : root(`show tables from ${database.database} like '${namespace}%'`)

    it('is made once, in utf8mb4, and a second run finds it', async () => {
      const scope = newScope()
      expect(await migrate(scope, init)).toMatchObject({
        created: true,
        applied: ['0000_init'],
        skipped: 0,
      })
      expect(await migrate(scope, init)).toMatchObject({
        created: false,
        applied: [],
        skipped: 1,
      })
      expect(
        await migrate(scope, init, migration('0001_more', 'alter table `parents` add `x` varchar(9)')),
      ).toMatchObject({ created: false, applied: ['0001_more'], skipped: 1 })
      const [made] = await root<{ 'Create Table': string }>(`show create table ${nameIn(scope, 'parents')}`)
      expect(made?.['Create Table']).toContain('utf8mb4')
      expect(await root(`select statements from ${nameIn(scope, '__drizzle_migrations')} order by id`)).toEqual([
        { statements: null },
        { statements: null },
      ])
    })

    it('is taken up after the last statement that ran', async () => {
      const scope = newScope()
      await migrate(scope, init)
      const broken = migration(
        '0001_broken',
        'create table `one` (`id` int)',
        'alter table `nowhere` add `x` int',
        'create table `two` (`id` int)',
      )
      await expect(migrate(scope, init, broken)).rejects.toMatchObject({
        code: 'TENANCY_ERR_MIGRATION_FAILED',
      })
      // It was there before, so nothing of it is removed.
      expect(await objects(scope)).toHaveLength(5)
      await root(`create table ${nameIn(scope, 'nowhere')} (id int)`)
      expect(await migrate(scope, init, broken)).toMatchObject({
        applied: ['0001_broken'],
      })
      expect(await objects(scope)).toHaveLength(7)
    })

    it('leaves nothing when the run that made it fails', async () => {
      const scope = newScope()
      const stranger = newScope()
      await migrate(stranger, init)
      const failing = migrate(scope, init, migration('0001_broken', 'alter table `nowhere` add `x` int'))
      await expect(failing).rejects.toMatchObject({
        code: 'TENANCY_ERR_MIGRATION_FAILED',
      })
      expect(await objects(scope)).toEqual([])
      expect(await databases(scope.namespace)).toBe(0)
      expect(await objects(stranger)).toHaveLength(4)
      expect(await migrate(scope, init)).toMatchObject({ created: true })
    })

    it('of somebody else is never taken, nor destroyed', async () => {
      const scope = newScope()
      await migrate(scope, init)
      const impostor = { ...scope, tenantId: newScope().tenantId }
      const exists = { code: 'TENANCY_ERR_NAMESPACE_EXISTS' }
      await expect(migrate(impostor, init)).rejects.toMatchObject(exists)
      await expect(server.destroy(impostor)).rejects.toMatchObject(exists)
      expect(await objects(scope)).toHaveLength(4)
      // Unmarked objects are somebody's too.
      const found = newScope()
      if (own) await root(`create database ${found.namespace}`)
      await root(`create table ${nameIn(found, 'theirs')} (id int)`)
      await expect(migrate(found, init)).rejects.toMatchObject(exists)
      await expect(server.destroy(found)).rejects.toMatchObject(exists)
      expect(await objects(found)).toHaveLength(1)
      await root(`drop table ${nameIn(found, 'theirs')}`)
    })

    it('gives the serving account rows and nothing else, of no other database', async () => {
      const scope = newScope()
      await migrate(scope, init)
      const client = clientOf(scope)
      await client.query('insert into `__tenant__`.`parents` values (1)')
      expect((await client.query('select * from `__tenant__`.`all_parents`'))[0]).toEqual([{ id: 1 }])
      const serving = { superUrl: database.url.replace(/\/shared_\w+$/, '/') }
      for (const statement of [
        `drop table ${nameIn(scope, 'children')}`,
        `create table ${nameIn(scope, 'mine')} (id int)`,
        `alter table ${nameIn(scope, 'parents')} comment = 'x'`,
        `create database ${scope.namespace}x`,
      ]) {
        await expect(asRoot(serving.superUrl, [statement]), statement).rejects.toMatchObject({
          code: expect.stringMatching(/DENIED/),
        })
      }
      await expect(asRoot(serving.superUrl, ['select * from mysql.user'])).rejects.toThrow(/denied/)
    })

    it('[W7] destroying removes exactly it, with its grant, and counts', async () => {
      const scope = newScope()
      // As near as names can be: one that begins with the prefix less its underscores, and one where `_` would match.
      const near = { ...newScope(), namespace: `${scope.namespace}x` }
      await migrate(scope, init)
      await migrate(near, init)
      const odd = own ? undefined : `\`${database.database}\`.\`${scope.namespace}yyodd\``
      if (odd !== undefined) await root(`create table ${odd} (id int)`)
      await clientOf(scope).query('insert into `__tenant__`.`parents` values (1)')
      await clientOf(scope).query('insert into `__tenant__`.`children` values (1, 1)')
      expect(await server.destroy(scope)).toEqual({
        objects: own ? 5 : 4,
        rows: 0,
      })
      expect(await server.destroy(scope)).toEqual({ objects: 0, rows: 0 })
      expect(await objects(near)).toHaveLength(4)
      if (odd !== undefined) {
        expect(await root(`show tables from ${database.database} like '${scope.namespace}yyodd'`)).toHaveLength(1)
        await root(`drop table ${odd}`)
      }
      const grants = await root<Record<string, string>>(`show grants for ${database.servingUser}@'%'`)
      expect(
        grants.map((grant) => Object.values(grant)[0]).filter((grant) => grant?.includes(`\`${scope.namespace}\``)),
      ).toEqual([])
      await server.destroy(near)
    })

    it('[W20] destroying stops where a table of somebody else refers to one of it', async () => {
      const scope = newScope()
      const stranger = newScope()
      await migrate(scope, init)
      await migrate(stranger, init)
      await root(
        `create table ${nameIn(stranger, 'leaning')} (p int, foreign key (p) references ${nameIn(scope, 'parents')} (id))`,
      )
      await expect(server.destroy(scope)).rejects.toMatchObject({
        code: 'TENANCY_ERR_DESTROY_INCOMPLETE',
      })
      expect(await objects(scope)).toHaveLength(4)
      await root(`drop table ${nameIn(stranger, 'leaning')}`)
      await server.destroy(scope)
      expect(await objects(stranger)).toHaveLength(4)
    })

    it('destroying goes on where a crash stopped it', async () => {
      const scope = newScope()
      await migrate(scope, init)
      await root(`drop view ${nameIn(scope, 'all_parents')}`, `drop table ${nameIn(scope, 'children')}`)
      expect(await server.destroy(scope)).toEqual({
        objects: own ? 3 : 2,
        rows: 0,
      })
      expect(await objects(scope)).toEqual([])
    })

    it('[W49] takes turns, and the lock is free after a failure and after a lost connection', async () => {
      const scope = newScope()
      await Promise.all(Array.from({ length: 8 }, () => migrate(scope, init)))
      await expect(server.inNamespace(scope, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
      const cut = server.inNamespace(scope, async (session) => {
        const [row] = await root<{ id: number }>(`select is_used_lock('fastify-tenancy:${scope.namespace}') as id`)
        await root(`kill ${row?.id}`)
        await session.run('select 1')
      })
      await expect(cut).rejects.toMatchObject({
        code: 'TENANCY_ERR_DATABASE_UNAVAILABLE',
      })
      expect(await migrate(scope, init)).toMatchObject({ skipped: 1 })
      expect(await root(`select is_used_lock('fastify-tenancy:${scope.namespace}') as id`)).toEqual([{ id: null }])
    })

    it('two statements in one are refused before anything runs', async () => {
      const scope = newScope()
      await expect(migrate(scope, migration('0000_two', `${parents}; ${children}`))).rejects.toMatchObject({
        code: 'TENANCY_ERR_MIGRATION_REFUSED',
      })
      expect(await objects(scope)).toEqual([])
      expect(await migrate(scope, migration('0000_one', `${parents};\n`))).toMatchObject({ created: true })
    })
  })

  it('an empty database is what a crash left; one with anything in it is not', async () => {
    const scope = placedScope(namespaceStrategy('schema'))
    await root(`create database ${scope.namespace}`)
    expect(await migrate(scope, init)).toMatchObject({ created: true })
    const other = placedScope(namespaceStrategy('schema'))
    await root(`create database ${other.namespace}`, `create procedure ${other.namespace}.p() select 1`)
    await expect(migrate(other, init)).rejects.toMatchObject({
      code: 'TENANCY_ERR_NAMESPACE_EXISTS',
    })
    // What was there before this run is not removed by it.
    const third = placedScope(namespaceStrategy('schema'))
    await root(`create database ${third.namespace}`)
    await expect(migrate(third, migration('0000_broken', 'alter table `x` add `y` int'))).rejects.toThrow()
    expect(await databases(third.namespace)).toBe(1)
    for (const { namespace } of [other, third]) await root(`drop database ${namespace}`)
  })

  it('works where one account does everything, and says so', async () => {
    const one = mysqlServer({ ...database, url: database.adminUrl })
    const warnings = await one.open()
    expect(warnings.join('\n')).toMatch(/it is the admin account too/)
    expect(warnings.join('\n')).toMatch(/it can grant its rights to others/)
    const scope = placedScope(namespaceStrategy('schema'))
    await migrateNamespace({ server: one, scope, migrations: [init] })
    expect(await one.destroy(scope)).toMatchObject({ objects: 5 })
    await one.close()
  })

  it('warns of a serving account that reaches more than rows of tenants', async () => {
    const powerful = mysqlServer({
      ...database,
      url: `${database.superUrl}${database.database}`,
    })
    expect((await powerful.open()).join('\n')).toMatch(/it has ALL PRIVILEGES on all databases/)
    await powerful.close()
  })

  it('prefixed tables need one database, the same for both accounts', async () => {
    const invalid = { code: 'TENANCY_ERR_CONFIG_INVALID' }
    const without = database.url.replace(/\/shared_\w+$/, '/')
    await expect(mysqlServer({ ...database, url: without }).open()).rejects.toMatchObject(invalid)
    await expect(mysqlServer({ ...database, adminUrl: `${without}other` }).open()).rejects.toMatchObject(invalid)
    const databasesOnly = mysqlServer({ ...database, url: without }, { strategies: ['schema'] })
    await databasesOnly.open()
    expect(() => databasesOnly.client(placedScope(namespaceStrategy('prefix')), open)).toThrow(/need a database/)
    await databasesOnly.close()
  })

  it('refuses a server that puts connections into a database', async () => {
    const [before] = await root<{ connect: string }>('select @@global.init_connect as connect')
    const other = placedScope(namespaceStrategy('schema'))
    await migrate(other, init)
    await root(`set global init_connect = 'use ${other.namespace}'`)
    try {
      await expect(mysqlServer(database).open()).rejects.toMatchObject({
        code: 'TENANCY_ERR_CONFIG_INVALID',
      })
    } finally {
      await root(`set global init_connect = '${before?.connect}'`)
    }
  })
})
