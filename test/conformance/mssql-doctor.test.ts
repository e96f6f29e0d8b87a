import { afterAll, beforeAll, expect, it } from 'vitest'
import { doctor } from '../../src/cli/doctor.ts'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import { diagnose } from '../../src/doctor.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { placedScope } from '../support/database.ts'
import {
  asSuper,
  describeMssql,
  hasPolicies,
  type MssqlDatabase,
  mssqlDatabase,
  mssqlServer,
} from '../support/mssql.ts'
import { migrationOf } from '../support/rls.ts'

describeMssql('doctor on SQL Server', (url) => {
  let database: MssqlDatabase
  let server: DatabaseServer
  const [one, other] = [placedScope(namespaceStrategy('schema')), placedScope(namespaceStrategy('prefix'))]
  beforeAll(async () => {
    database = await mssqlDatabase(url)
    server = mssqlServer(database, { strategies: ['schema', 'prefix'] })
    await server.open()
    for (const scope of [one, other]) {
      const migrations = [migrationOf('create table [items] ([id] int primary key)')]
      await migrateNamespace({ server, scope, migrations })
    }
  })
  afterAll(async () => {
    await server?.close()
    await database?.drop()
  })
  const found = async (on = server) => {
    const report = await diagnose(on, ['schema', 'prefix'])
    for (const { rule } of report.findings) expect(report.rules).toContain(rule)
    return report.findings.map(({ rule }) => rule)
  }
  const table = `[${one.namespace}].[items]`

  it('finds nothing where all is as the library makes it', async () => {
    expect(await found()).toEqual([])
  })

  it.each([
    [
      'mssql-1',
      (user: string) => [
        'create schema [tenancy]',
        'create table [tenancy].[tenants] (id int)',
        `grant select on [tenancy].[tenants] to [${user}]`,
      ],
      () => ['drop table [tenancy].[tenants]', 'drop schema [tenancy]'],
    ],
    [
      'mssql-7',
      () => [`create table [dbo].[child] (item int references ${table} (id))`],
      () => ['drop table [dbo].[child]'],
    ],
    [
      'mssql-11',
      (user: string) => ['create table [dbo].[plain] (id int)', `grant select on [dbo].[plain] to [${user}]`],
      () => ['drop table [dbo].[plain]'],
    ],
    ['mssql-12', () => [`create schema [t${'0'.repeat(25)}]`], () => [`drop schema [t${'0'.repeat(25)}]`]],
  ] as const)('%s', async (rule, break_, mend) => finds(rule, break_, mend))

  /** What only speaks T-SQL tells neither of rights nor of what views read, and has no members of these roles. */
  it.skipIf(!hasPolicies).each([
    [
      'mssql-1',
      (user: string) => [`alter role [db_datareader] add member [${user}]`],
      (user: string) => [`alter role [db_datareader] drop member [${user}]`],
    ],
    [
      'mssql-1',
      (user: string) => [`grant references on ${table} to [${user}]`],
      (user: string) => [`revoke references on ${table} from [${user}]`],
    ],
    ['mssql-9', () => [`create view [dbo].[v] as select [id] from ${table}`], () => ['drop view [dbo].[v]']],
  ] as const)('%s, by a catalogue that tells all', async (rule, break_, mend) => finds(rule, break_, mend))

  async function finds(
    rule: string,
    break_: (user: string) => readonly string[],
    mend: (user: string) => readonly string[],
  ): Promise<void> {
    await asSuper(database.superUrl, break_(database.servingLogin))
    try {
      expect(new Set(await found())).toEqual(new Set([rule]))
    } finally {
      await asSuper(database.superUrl, mend(database.servingLogin))
    }
    expect(await found()).toEqual([])
  }

  it('mssql-2: one login does both', async () => {
    const both = mssqlServer(database, { url: database.adminUrl })
    await both.open()
    expect(await found(both)).toContain('mssql-2')
    await both.close()
  })

  it('a start that is refused is a finding of the command', async () => {
    const said: string[] = []
    const output = { out: (text: string) => void said.push(text), err: (text: string) => void said.push(text) }
    const status = await doctor(['--json'], output, {
      TENANCY_ISOLATION_STRATEGY: 'rls',
      TENANCY_DATABASE_URL: database.adminUrl,
      TENANCY_ADMIN_DATABASE_URL: database.adminUrl,
    })
    expect(status).toBe(1)
    expect(JSON.parse(said.join(''))).toMatchObject({ ok: false, findings: [{ rule: 'mssql-1' }] })
  })
})
