import mysql from 'mysql2/promise'
import { afterEach, describe, expect, it } from 'vitest'
import type { Scope } from '../../src/contracts/isolation.ts'
import { readGrants } from '../../src/dialects/mysql/shared/held-rights.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables, shareTables } from '../../src/sql/adopt.ts'
import { migrationOf } from '../matrix/suite.ts'
import { describeWith } from '../servers/suite.ts'
import { open, placedScope } from '../support/database.ts'
import { codeOf } from '../support/errors.ts'
import { mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { type OpenSharedCell, type SharedCell, sharedTables } from './cell.ts'
import { mysqlSharedCell } from './mysql-cells.ts'
import { migrateShared } from './suite.ts'

describe('SHOW GRANTS', () => {
  const to = ' TO `app`@`%`'
  it.each([
    ['GRANT USAGE ON *.*', undefined],
    ['GRANT SELECT ON *.*', 'SELECT on *.*'],
    ['GRANT SELECT, INSERT ON `shared`.*', 'SELECT, INSERT on `shared`.*'],
    ['GRANT ALL PRIVILEGES ON `sh%`.*', 'ALL PRIVILEGES on `sh%`.*'],
    ['GRANT UPDATE ON `share_`.*', 'UPDATE on `share_`.*'],
    ['GRANT UPDATE ON `SHARED`.*', 'UPDATE on `SHARED`.*'],
    ['GRANT UPDATE ON `share\\_`.*', undefined],
    ['GRANT UPDATE ON `other`.*', undefined],
    ['GRANT `writers`@`%`', 'the role `writers`@`%`'],
    ['GRANT SELECT ON `share_`.`plans`', undefined],
  ])('%s', (line, wider) => {
    expect(readGrants([line + to], 'shared')).toEqual({ byTable: new Map(), wider })
  })

  it('knows what a pattern with an underscore means', () => {
    expect(readGrants([`GRANT UPDATE ON \`t\\_shared\`.*${to}`], 't_shared').wider).toBe('UPDATE on `t\\_shared`.*')
    expect(readGrants([`GRANT UPDATE ON \`t\\_shared\`.*${to}`], 'txshared').wider).toBeUndefined()
  })

  it('reads the rights on tables, with their columns', () => {
    const { byTable } = readGrants([`GRANT SELECT, UPDATE (name, \`id\`) ON \`shared\`.\`pl\`\`ans\`${to}`], 'shared')
    expect(byTable).toEqual(new Map([['pl`ans', ['SELECT', 'UPDATE (name, `id`)']]]))
  })
})

describeWith(['mariadb'], 'rights on shared tables of MariaDB', ({ mariadb }) => {
  let opened: OpenSharedCell | undefined
  let cell: SharedCell
  afterEach(async () => {
    await opened?.close()
    opened = undefined
  })
  const start = async (): Promise<OpenSharedCell> => {
    cell = mysqlSharedCell('MariaDB', mariadb.url, namespaceStrategy('schema'))
    opened = await cell.open()
    shareTables(opened.model, ['plans', 'tags'], opened.server.shared?.qualifier ?? '')
    adoptTables(opened.model)
    await migrateShared(opened.server, opened.sharedStatements)
    return opened
  }
  const provision = async ({ server, statements }: OpenSharedCell): Promise<Scope> => {
    const scope = placedScope(namespaceStrategy('schema'))
    await migrateNamespace({ server, scope, migrations: [migrationOf(statements)] })
    return scope
  }

  it('rights that somebody gave are taken back by the next start', async () => {
    const { server, sharedStatements, asOwner, account, drizzle, model } = await start()
    const { scope } = { scope: await provision(opened as OpenSharedCell) }
    await asOwner(
      `grant insert, drop, update (name) on ${cell.full('plans')} to ${account}`,
      `grant select on ${cell.full('__drizzle_migrations')} to ${account}`,
    )
    const db = drizzle(server.client(scope, open))
    await db.insert(model.plans).values({ id: 3, name: 'while it was possible' })
    await asOwner(`delete from ${cell.full('plans')} where id = 3`)
    await migrateShared(server, sharedStatements)
    await expect(db.insert(model.plans).values({ id: 3, name: 'no' }).execute()).rejects.toThrow()
    const grants = await asOwner(`show grants for ${account}`)
    const own = grants.map((row) => String(Object.values(row)[0])).filter((line) => line.includes('t_shared'))
    const told = own.map((line) => /^GRANT (.+) ON .*\.(\S+) TO/.exec(line)?.slice(1).join(' on '))
    expect(new Set(told)).toEqual(new Set(['SELECT on `plans`', 'SELECT, INSERT, UPDATE, DELETE on `tags`']))
  })

  it('rights that reach further stop the start', async () => {
    const { server, sharedStatements, asOwner, account } = await start()
    const database = cell.full('x').split('.')[0]
    for (const [give, take] of [
      [`grant insert on ${database}.* to ${account}`, `revoke insert on ${database}.* from ${account}`],
      [`grant insert on *.* to ${account}`, `revoke insert on *.* from ${account}`],
    ] as const) {
      await asOwner(give)
      expect(await codeOf(() => migrateShared(server, sharedStatements))).toBe('TENANCY_ERR_SHARED_TABLES')
      await asOwner(take)
    }
    await migrateShared(server, sharedStatements)
  })

  it('a reference that cascades is found when its table becomes writable', async () => {
    const { server, sharedStatements, another } = await start()
    await migrateNamespace({
      server,
      scope: placedScope(namespaceStrategy('schema')),
      migrations: [
        migrationOf([
          'CREATE TABLE `planned` (`id` int, `plan_id` int, CONSTRAINT `fk_plan` FOREIGN KEY (`plan_id`) REFERENCES `plans`(`id`) ON DELETE CASCADE)',
        ]),
      ],
    })
    const writable = await another({ sharedTables: { writable: ['plans'] } })
    const failed = migrateShared(writable, sharedStatements)
    await expect(failed).rejects.toMatchObject({
      code: 'TENANCY_ERR_SHARED_TABLES',
      message: expect.stringContaining('fk_plan') as string,
    })
    await writable.close()
  })

  it('a reference that cascades to what tenants write is refused before anything runs', async () => {
    const cell = await start()
    const scope = await provision(cell)
    const migrations = [
      migrationOf(cell.statements),
      { ...migrationOf(['CREATE TABLE first (id int)', cell.cascading]), name: '0001', hash: '0001' },
    ]
    expect(await codeOf(() => migrateNamespace({ server: cell.server, scope, migrations }))).toBe(
      'TENANCY_ERR_MIGRATION_REFUSED',
    )
    const found = await cell.asOwner(`show tables from \`${scope.namespace}\` like 'first'`)
    expect(found).toEqual([])
  })

  it('a table that tenants had before it was shared is found by their next migration', async () => {
    const { server, another } = await start()
    const alone = await another({ sharedTables: { names: ['tags'], writable: [] } })
    const scope = placedScope(namespaceStrategy('schema'))
    await migrateNamespace({ server: alone, scope, migrations: [migrationOf(['CREATE TABLE Plans (id integer)'])] })
    await alone.close()
    expect(await codeOf(() => migrateNamespace({ server, scope, migrations: [] }))).toBe('TENANCY_ERR_SHARED_TABLES')
  })

  it('a transaction that reads a shared table holds up neither the removal of a tenant nor other readers', async () => {
    const { server, drizzle, model, url = '' } = await start()
    const [gone, other] = [await provision(opened as OpenSharedCell), await provision(opened as OpenSharedCell)]
    const reader = await mysql.createConnection(url)
    await reader.query('start transaction')
    await reader.query(`select * from ${cell.full('plans')}`)
    const removing = server.destroy(gone)
    const db = drizzle(server.client(other, open))
    for (let i = 0; i < 20; i++) expect(await db.select().from(model.plans)).toHaveLength(2)
    expect((await removing).objects).toBeGreaterThan(0)
    await reader.end()
  })

  it('the database of prefixed tables is not that of shared ones', async () => {
    const database = await mysqlDatabase(mariadb.url)
    const server = mysqlServer(database, { sharedTables: { ...sharedTables, schema: database.database } })
    expect(await codeOf(() => server.open())).toBe('TENANCY_ERR_CONFIG_INVALID')
    await database.drop()
  })
})
