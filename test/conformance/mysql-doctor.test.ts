import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import { diagnose } from '../../src/doctor.ts'
import { variableFindings } from '../../src/dialects/mysql/inspect-server.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { type RunningMariadb, startMariadb } from '../servers/mariadb.ts'
import { describeWith } from '../servers/suite.ts'
import { placedScope } from '../support/database.ts'
import { asRoot, type MysqlDatabase, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { migrationOf } from '../support/rls.ts'

describeWith(['mariadb'], 'doctor on MariaDB', () => {
  /** Its own: what is set for a whole server is everybody's. */
  let own: RunningMariadb
  let database: MysqlDatabase
  let server: DatabaseServer
  const red = new Set<string>()
  beforeAll(async () => {
    own = await startMariadb()
    database = await mysqlDatabase(own.url)
    server = mysqlServer(database)
    await server.open()
    for (const strategy of ['schema', 'prefix'] as const) {
      const migrations = [migrationOf('create table `items` (`id` int primary key)')]
      await migrateNamespace({ server, scope: placedScope(namespaceStrategy(strategy)), migrations })
    }
  })
  afterAll(async () => {
    await server?.close()
    await own?.stop()
  })

  const found = async (on = server) => {
    const report = await diagnose(on, ['schema', 'prefix'])
    for (const { rule } of report.findings) {
      red.add(rule)
      expect(report.rules).toContain(rule)
    }
    return report.findings.map(({ rule }) => rule)
  }

  it('finds nothing where all is as the library makes it', async () => {
    expect(await found()).toEqual([])
  })

  it.each([
    [
      'mysql-1',
      (user: string) => `grant process on *.* to ${user}`,
      (user: string) => `revoke process on *.* from ${user}`,
    ],
    [
      'mysql-3',
      (user: string) => `grant select on \`t0%\`.* to ${user}`,
      (user: string) => `revoke select on \`t0%\`.* from ${user}`,
    ],
  ] as const)('%s: a grant too many', async (rule, break_, mend) => {
    const user = `${database.servingUser}@'%'`
    await asRoot(database.superUrl, [break_(user)])
    expect(await found()).toEqual([rule])
    await asRoot(database.superUrl, [mend(user)])
    expect(await found()).toEqual([])
  })

  it('mysql-2: one account does both', async () => {
    const both = mysqlServer({ ...database, url: database.adminUrl })
    await both.open()
    expect(await found(both)).toContain('mysql-2')
    await both.close()
  })

  it('mysql-4: other clients read text otherwise', async () => {
    const [before] = await asRoot<{ mode: string }>(database.superUrl, ['select @@global.sql_mode as mode'])
    await asRoot(database.superUrl, [`set global sql_mode = concat(@@global.sql_mode, ',NO_BACKSLASH_ESCAPES')`])
    try {
      expect(await found()).toEqual(['mysql-4'])
    } finally {
      await asRoot(database.superUrl, [`set global sql_mode = '${before?.mode ?? ''}'`])
    }
    expect(await found()).toEqual([])
  })

  it('mysql-6: a table without transactions', async () => {
    await asRoot(database.superUrl, [`create table ${database.database}.loose (id int) engine = MyISAM`])
    expect(await found()).toEqual(['mysql-6'])
    await asRoot(database.superUrl, [`drop table ${database.database}.loose`])
    expect(await found()).toEqual([])
  })

  it('has seen every rule red that a running server can break', async () => {
    const { rules } = await diagnose(server, ['schema'])
    expect(rules.filter((rule) => !red.has(rule))).toEqual(['mysql-5'])
  })
})

describe('[mysql-5] lower_case_table_names', () => {
  it.each([
    [0, 0],
    [1, 0],
    [2, 1],
  ])('%i: %i findings', (folds, count) => {
    expect(variableFindings({ mode: '', folds })).toHaveLength(count)
  })
})
