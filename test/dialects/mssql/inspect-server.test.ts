import { describe, expect, it } from 'vitest'
import type { StrategyName } from '../../../src/contracts/tenant.ts'
import { type InspectionOptions, inspectServer } from '../../../src/dialects/mssql/inspect-server.ts'
import { rules } from '../../../src/verification/rules.ts'
import { type Answers, script } from './script.ts'

/* How the catalogue of a SQL Server is judged, for those who have none. */

const namespace = `t${'1'.repeat(25)}`
const other = `t${'2'.repeat(25)}`
const red = new Set<string>()

const optionsOf = (
  answers: Answers,
  strategies: readonly StrategyName[],
  serving: Answers = [],
): InspectionOptions => ({
  admin: script(answers).query,
  serving: script([['suser_sname', [{ login: 'app', name: 'app', defaultSchema: 'nothing' }]], ...serving]).query,
  adminLogin: 'owner',
  registrySchema: 'tenancy',
  shared: { rlsSchema: 'rls', prefixSchema: 'prefixed', tenantColumn: 'tenant_id' },
  sharedTables: { schema: 'shared', names: ['plans'], writable: [], tenantColumn: 'tenant_id' },
  strategies,
})
const found = async (
  answers: Answers,
  strategies: readonly StrategyName[] = ['schema', 'prefix'],
  serving?: Answers,
) => {
  const { rules: asked, findings } = await inspectServer(optionsOf(answers, strategies, serving))
  for (const { rule } of findings) {
    red.add(rule)
    expect(asked).toContain(rule)
  }
  return findings.map(({ rule, severity }) =>
    severity === rules[rule as keyof typeof rules][0] ? rule : `${rule} ${severity}`,
  )
}

const right = (more: object) => ({
  grantee: 'app',
  permission: 'SELECT',
  on: 'OBJECT_OR_COLUMN',
  schema: namespace,
  object: 'orders',
  column: null,
  grantable: 0,
  ...more,
})
const rightsOf = (...rights: object[]): Answers => [['sys.database_permissions', rights.map(right)]]
const tie = (more: object): Answers => [
  [
    'sys.sql_expression_dependencies',
    [{ kind: 'view', name: 'v', fromSchema: 'dbo', from: 'v', toSchema: namespace, to: 'orders', ...more }],
  ],
]
const code = (more: object): Answers => [
  [
    'sys.sql_modules',
    [{ name: 'p', type: 'sql trigger', schema: namespace, table: 'orders', impersonates: 1, ...more }],
  ],
]

describe('the doctor, by what SQL Server answers', () => {
  it('finds nothing where nothing is wrong', async () => {
    const row = { permission: 'UPDATE' }
    expect(
      await found(rightsOf({ on: 'DATABASE', permission: 'CONNECT' }, row, { schema: 'dbo', permission: 'ALTER' })),
    ).toEqual([])
  })

  it.each([
    ['a role', [], [["(values (N'db_owner')", [{ name: 'db_datareader' }]]], ['mssql-1']],
    ['the registry', [], [['1 in (', [{ name: 'tenancy' }]]], ['mssql-1']],
    ['a right on policies', [], [["(values (N'CONTROL')", [{ name: 'ALTER ANY SECURITY POLICY' }]]], ['mssql-1']],
    [
      'a right on the database that is told once',
      rightsOf({ on: 'DATABASE', permission: 'CONTROL' }),
      [["(values (N'CONTROL')", [{ name: 'CONTROL' }]]],
      ['mssql-1'],
    ],
    ['any other right on the database', rightsOf({ on: 'DATABASE', permission: 'UNMASK' }), [], ['mssql-1']],
    ['somebody to become', rightsOf({ on: 'DATABASE_PRINCIPAL', permission: 'IMPERSONATE' }), [], ['mssql-1']],
    ['somebody to look at', rightsOf({ on: 'DATABASE_PRINCIPAL', permission: 'VIEW DEFINITION' }), [], []],
    ['a right on a schema', rightsOf({ on: 'SCHEMA', object: null }), [], ['mssql-1']],
    ['a right on a table that is not its rows', rightsOf({ permission: 'VIEW CHANGE TRACKING' }), [], ['mssql-1']],
    ['the ledger', rightsOf({ schema: 'prefixed', object: `${namespace}____drizzle_migrations` }), [], ['mssql-1']],
    [
      'a user that it can become',
      [],
      [
        ["object_id(N'sys.database_principals')", [{ found: 1 }]],
        ['from sys.database_principals where type', [{ name: 'dbo' }]],
      ],
      ['mssql-1'],
    ],
    ['a plain name', [], [["in (@p0, N'dbo')", [{ name: 'dbo.x' }]]], ['mssql-11']],
    [
      'a schema that is nobody’s',
      [
        [
          'from sys.schemas s',
          [
            { name: namespace, mark: null },
            { name: other, mark: 'tenant 2' },
            { name: 'dbo', mark: null },
          ],
        ],
      ],
      [],
      ['mssql-12'],
    ],
    [
      'chains between databases',
      [['is_db_chaining_on', [{ name: namespace, chained: 1, trusted: 0 }]]],
      [],
      ['mssql-10'],
    ],
    ['trust in a database', [['is_db_chaining_on', [{ name: 'saas', chained: 0, trusted: 1 }]]], [], ['mssql-10']],
    [
      'chains everywhere',
      [
        ["object_id(N'sys.configurations')", [{ found: 1 }]],
        ['value_in_use', [{ value: 1 }]],
      ],
      [],
      ['mssql-10'],
    ],
    [
      'chains nowhere',
      [
        ["object_id(N'sys.configurations')", [{ found: 1 }]],
        ['value_in_use', [{ value: 0 }]],
      ],
      [],
      [],
    ],
    ['a key between two tenants', tie({ kind: 'foreign key', fromSchema: other, from: 'x' }), [], ['mssql-7']],
    ['a key from elsewhere', tie({ kind: 'foreign key' }), [], ['mssql-7']],
    [
      'a key between two prefixes',
      tie({
        kind: 'foreign key',
        fromSchema: 'prefixed',
        from: `${namespace}__a`,
        toSchema: 'prefixed',
        to: `${other}__b`,
      }),
      [],
      ['mssql-7'],
    ],
    ['a key of a tenant’s own', tie({ kind: 'foreign key', fromSchema: namespace, from: 'x' }), [], []],
    [
      'a key to a shared table',
      tie({ kind: 'foreign key', fromSchema: namespace, from: 'x', toSchema: 'shared', to: 'plans' }),
      [],
      [],
    ],
    ['a key that is nobody’s', tie({ kind: 'foreign key', toSchema: 'dbo' }), [], []],
    ['a view that nobody who serves can use', tie({}), [], ['mssql-9 warning']],
    ['a view for who serves', [...tie({}), ...rightsOf({ schema: 'dbo', object: 'v' })], [], ['mssql-9']],
    ['a view of a tenant’s on another one', tie({ fromSchema: other }), [], ['mssql-9']],
    ['a view of a tenant’s on another database', tie({ fromSchema: other, toSchema: null }), [], ['mssql-9']],
    ['code as somebody else', code({}), [], ['mssql-8']],
    ['code as who calls it', code({ impersonates: 0 }), [], []],
    ['code elsewhere', code({ schema: 'dbo', table: 'p' }), [], []],
    [
      'code elsewhere, for who serves',
      [...code({ schema: 'dbo', table: 'p' }), ...rightsOf({ schema: 'dbo', object: 'p', permission: 'EXECUTE' })],
      [],
      ['mssql-8'],
    ],
  ] as [string, Answers, Answers, string[]][])('%s', async (_what, answers, serving, expected) => {
    expect(
      await found(
        [['where name = db_name()', [{ name: 'saas', chained: 0, trusted: 0 }]], ...answers],
        undefined,
        serving,
      ),
    ).toEqual(expected)
  })

  it('one login for both', async () => {
    const both = { ...optionsOf([], ['schema']), adminLogin: 'app' }
    const { findings } = await inspectServer(both)
    for (const { rule } of findings) red.add(rule)
    expect(findings.map(({ rule }) => rule)).toEqual(['mssql-2'])
  })

  it('asks of shared tables under `rls`, once they are there', async () => {
    const table = {
      name: 'orders',
      type: 'uniqueidentifier',
      length: 16,
      nullable: true,
      default: null,
      defaultName: null,
      indexed: 0,
      special: 1,
    }
    const bare: Answers = [
      ['max_length', [table]],
      ['i.is_unique = 1', [{ table: 'orders', index: 'u' }]],
      ['sys.foreign_keys k join sys.tables', [{ name: 'fk', child: 'a', parent: 'b', withTenant: 0, toShared: 0 }]],
      ["'TR'", [{ name: 'trg', type: 'sql trigger' }]],
    ]
    expect(await found(bare, ['rls'])).toEqual([])
    expect(await found([...bare, ['sys.schemas s where', [{ mark: 'shared rls' }]]], ['rls'])).toEqual([
      'mssql-3',
      'mssql-4',
      'mssql-5',
      'mssql-5',
      'mssql-5',
      'mssql-7',
      'mssql-6',
      'mssql-8',
    ])
    expect(await found(tie({ kind: 'foreign key', toSchema: 'rls' }), ['rls'])).toEqual([])
  })

  it('has seen every rule red', () => {
    const own = Object.keys(rules).filter((rule) => rule.startsWith('mssql-'))
    expect(own.filter((rule) => !red.has(rule))).toEqual([])
  })
})
