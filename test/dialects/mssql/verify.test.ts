import { describe, expect, it } from 'vitest'
import { type Scope, TENANT_SETTING } from '../../../src/contracts/isolation.ts'
import type { StrategyName } from '../../../src/contracts/tenant.ts'
import { checkBaseline } from '../../../src/dialects/mssql/baseline.ts'
import { CANARY, ensureCanary, rowAttempts } from '../../../src/dialects/mssql/rls/canary.ts'
import { layoutOf } from '../../../src/dialects/mssql/layout.ts'
import { predicateFunction } from '../../../src/dialects/mssql/rls/policy.ts'
import { statementKind } from '../../../src/dialects/mssql/statement-kind.ts'
import { effectiveFaults } from '../../../src/dialects/mssql/verify/faults.ts'
import { type Answer, countOf, outcomeOf } from '../../../src/dialects/mssql/verify/outcome.ts'
import type { ScopeTrial } from '../../../src/dialects/mssql/verify/trial.ts'
import { verifyScope } from '../../../src/dialects/mssql/verify/verify-scope.ts'
import { tenancyError } from '../../../src/errors.ts'
import { type Answers, script } from './script.ts'

/*
 * How answers of a SQL Server are judged, and what is written, for those who have none: its errors are those of its
 * documentation. That it answers so is for the suites that have one.
 */

const shared = { rlsSchema: 'rls', prefixSchema: 'prefixed', tenantColumn: 'tenant_id' }
const namespace = `t${'1'.repeat(25)}`
const ID = '00000000-0000-4000-8000-000000000001'
const scopeOf = (strategy: StrategyName): Scope => ({
  tenantId: ID,
  server: 'main',
  namespace,
  strategy,
  settings: strategy === 'rls' ? { [TENANT_SETTING]: ID } : {},
})
const fault = (number: number, message = 'x') => Object.assign(new Error(message), { number })
const rowsOf = (count: number): Answer => ({
  recordset: Array.from({ length: count }, () => ({})),
  rowsAffected: [count],
})
const changed = (count: number): Answer => ({ recordset: undefined, rowsAffected: [count] })

/** A database of which every tenant has its own tables, as a connection of `who` meets it. */
function ownTables(who: 'own' | 'other' | 'none', text: string, row: boolean): Answer {
  const kind = statementKind(text)
  if (kind.kind === 'refused') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [kind.what])
  if (who !== 'own' || !text.includes('__tenant__')) throw fault(208)
  if (text.includes('(2, 9)')) throw fault(547)
  if (text.startsWith('select')) return rowsOf(row ? 1 : 0)
  return changed(1)
}

/** A trial in which the catalogue answers by `answers`, and statements by `behave`. */
function trialOf(strategy: StrategyName, answers: Answers, behave = ownTables) {
  const admin = script([['sp_getapplock', [{ got: 0 }]], ...answers])
  const serving = script([
    ['suser_sname', [{ login: 'app', name: 'app', defaultSchema: 'nothing' }]],
    ['db_name() as name', [{ name: 'saas', quoted: 1 }]],
    ...answers.filter(([part]) => /^\(values|^v\(/.test(part)),
  ])
  const used: string[] = []
  const clientOf = (scope: Scope, row: boolean) => ({
    request: () => ({
      query: async (text: string) => behave(scope.tenantId === ID ? 'own' : 'other', text, row),
    }),
  })
  const trial: ScopeTrial = {
    server: {
      client: (scope) => clientOf(scope, false),
      lazyTransaction: (scope) => ({ client: clientOf(scope, true), commit: async () => {}, rollback: async () => {} }),
    },
    scope: scopeOf(strategy),
    rights: { servingUser: 'app', shared },
    adminLogin: 'owner',
    registrySchema: 'tenancy',
    main: 'saas',
    administering: (work) => work({ query: admin.query, use: async (name) => void used.push(name) }),
    unscoped: (work) =>
      work(async (text, parameters) =>
        /canary/.test(text) && !text.includes('has_perms')
          ? ([behave('none', text, true)] as never)
          : serving.query(text, parameters),
      ),
    asTenants: () => Promise.reject(new Error('not asked here')),
  }
  return { trial, sent: admin.sent, used }
}

const marked: Record<string, Answers> = {
  schema: [
    ['sys.schemas s where', [{ mark: `tenant ${ID}` }]],
    ['sys.tables t join', [{ mark: `tenant ${ID}` }]],
  ],
  prefix: [
    ['sys.schemas s where', [{ mark: 'shared prefix' }]],
    ['sys.tables t join', [{ mark: `tenant ${ID}` }]],
  ],
  database: [
    ['select 1 as found from sys.databases', [{ found: 1 }]],
    ['class = 0', [{ mark: `tenant ${ID}` }]],
    ['sys.tables t join', [{ mark: `tenant ${ID}` }]],
  ],
}

const failedOf = async (trial: ScopeTrial) => {
  const report = await verifyScope(trial)
  const failed = report.checks.filter(({ ok }) => !ok)
  expect(report.ok).toBe(failed.length === 0)
  return failed.map(({ name }) => name)
}

describe('verify, by what SQL Server answers', () => {
  it.each(['schema', 'prefix', 'database'] as const)('%s is green where it holds', async (strategy) => {
    const { trial, sent, used } = trialOf(strategy, marked[strategy] ?? [])
    expect(await failedOf(trial)).toEqual([])
    const home = { schema: `[${namespace}].[`, prefix: `[prefixed].[${namespace}__`, database: '[dbo].[' }[strategy]
    const made = sent.filter((text) => !text.includes('applock'))
    expect(made[0]).toMatch(/^create table .* \(id int not null primary key, parent int references .* \(id\)\)$/)
    expect(made[1]).toMatch(/^grant select, insert, update, delete on .* to \[app\]$/)
    expect(made[2]).toMatch(/^drop table if exists /)
    expect(made).toHaveLength(3)
    for (const text of made) expect(text).toContain(`${home}__tenancy_canary_`)
    const times = ['makes it', 'reads the catalogue', 'drops it']
    expect(used).toEqual(strategy === 'database' ? times.flatMap(() => [namespace, 'saas']) : [])
  })

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
  const dependency = (more: object) => ({
    kind: 'view',
    name: 'v',
    fromSchema: namespace,
    from: 'v',
    toSchema: namespace,
    to: 'orders',
    ...more,
  })
  it.each([
    ['a schema of somebody else', 'sys.schemas s where', [{ mark: 'tenant 2' }], ['namespace']],
    ['no schema', 'sys.schemas s where', [], ['namespace']],
    ['a ledger of somebody else', 'sys.tables t join', [{ mark: 'tenant 2' }], ['namespace']],
    ['no ledger', 'sys.tables t join', [], ['namespace']],
    ['a login that is sysadmin', "(values (N'sysadmin')", [{ name: 'sysadmin' }], ['serving login']],
    ['a login with CONTROL', "(values (N'CONTROL')", [{ name: 'CONTROL' }], ['serving login']],
    ['rows in its tables', 'sys.database_permissions', [right({})], []],
    ['a right of somebody else', 'sys.database_permissions', [right({ grantee: 'x', permission: 'ALTER' })], []],
    ['a right elsewhere', 'sys.database_permissions', [right({ schema: 'dbo', permission: 'ALTER' })], []],
    ['what everybody has', 'sys.database_permissions', [right({ on: 'DATABASE', permission: 'CONNECT' })], []],
    ['a right to change a table', 'sys.database_permissions', [right({ permission: 'ALTER' })], ['rights']],
    [
      'a right of everybody',
      'sys.database_permissions',
      [right({ grantee: 'public', permission: 'ALTER' })],
      ['rights'],
    ],
    ['a right on a column', 'sys.database_permissions', [right({ column: 'x' })], ['rights']],
    ['a right to give on', 'sys.database_permissions', [right({ grantable: 1 })], ['rights']],
    ['a right on the ledger', 'sys.database_permissions', [right({ object: '__drizzle_migrations' })], ['rights']],
    ['a right on the schema', 'sys.database_permissions', [right({ on: 'SCHEMA', object: null })], ['rights']],
    [
      'a right on the database',
      'sys.database_permissions',
      [right({ on: 'DATABASE', permission: 'SELECT' })],
      ['rights'],
    ],
    [
      'a user that it can become',
      'sys.database_permissions',
      [right({ on: 'DATABASE_PRINCIPAL', permission: 'IMPERSONATE', schema: null, object: 'dbo' })],
      ['rights'],
    ],
    [
      'a role that reads everything',
      'sys.database_role_members',
      [
        { member: 'app', role: 'team', fixed: 0 },
        { member: 'team', role: 'db_datareader', fixed: 1 },
      ],
      ['rights'],
    ],
    [
      'a schema that it owns',
      'union all select s.name, o.name, u.name',
      [{ schema: namespace, object: null, owner: 'app' }],
      ['rights'],
    ],
    ['a view of its own tables', 'sys.sql_expression_dependencies', [dependency({})], []],
    ['a view elsewhere', 'sys.sql_expression_dependencies', [dependency({ fromSchema: 'dbo' })], ['ties']],
    ['a view of what is elsewhere', 'sys.sql_expression_dependencies', [dependency({ toSchema: 'dbo' })], ['ties']],
    ['a view of another database', 'sys.sql_expression_dependencies', [dependency({ toSchema: null })], ['ties']],
    [
      'a key from elsewhere',
      'sys.sql_expression_dependencies',
      [dependency({ kind: 'foreign key', fromSchema: 'dbo' })],
      ['ties'],
    ],
    [
      'a trigger with EXECUTE AS',
      'sys.sql_modules',
      [{ name: 'trg', type: 'sql trigger', table: 'orders', impersonates: 1 }],
      ['code'],
    ],
  ] as [string, string, object[], string[]][])('schema: %s', async (_what, part, rows, expected) => {
    const { trial } = trialOf('schema', [...(marked['schema'] ?? []), [part, rows]])
    expect(await failedOf(trial)).toEqual(expected)
  })

  it('asks the login itself what it can do with each object, and with the ledger', async () => {
    const objects: Answers = [
      ...(marked['schema'] ?? []),
      [
        'o.is_ms_shipped = 0 order by',
        ['orders', '__drizzle_migrations'].map((name) => ({ name, type: 'USER_TABLE' })),
      ],
    ]
    expect(await failedOf(trialOf('schema', objects).trial)).toEqual([])
    const held: Answers = [...objects, ['v(name, permission)', [{ object: 'orders', permission: 'ALTER' }]]]
    expect(await failedOf(trialOf('schema', held).trial)).toEqual(['rights'])
    const { query } = script([])
    const asked: string[] = []
    const layout = layoutOf(scopeOf('database'), shared)
    await effectiveFaults(
      ((text: string) => {
        asked.push(text)
        return query(text)
      }) as typeof query,
      layout,
      ["o'rders", '__drizzle_migrations'],
    )
    expect(asked[0]).toContain("(N'o''rders', N'ALTER')")
    expect(asked[0]).not.toContain("(N'o''rders', N'SELECT')")
    expect(asked[0]).toContain("(N'__drizzle_migrations', N'SELECT')")
    expect(asked[0]).toContain(
      `has_perms_by_name(N'[${namespace}].[dbo]' + N'.' + quotename(v.name), N'OBJECT', v.permission)`,
    )
  })

  it('prefix: what another tenant has in the same schema is not its business', async () => {
    const name = (of: string) => `t${of.repeat(25)}__orders`
    const answersOf = (of: string): Answers => [
      ...(marked['prefix'] ?? []),
      ['sys.database_permissions', [right({ schema: 'prefixed', object: name(of), permission: 'ALTER' })]],
    ]
    expect(await failedOf(trialOf('prefix', answersOf('2')).trial)).toEqual([])
    expect(await failedOf(trialOf('prefix', answersOf('1')).trial)).toEqual(['rights'])
    const tied: Answers = [
      ...(marked['prefix'] ?? []),
      [
        'sys.sql_expression_dependencies',
        [dependency({ fromSchema: 'prefixed', from: name('1'), toSchema: 'prefixed', to: name('2') })],
      ],
    ]
    expect(await failedOf(trialOf('prefix', tied).trial)).toEqual(['ties'])
  })

  it('database: one that is gone, somebody else’s, or open to the code of others', async () => {
    const mine = marked['database'] ?? []
    const gone: Answers = [...mine, ['select 1 as found from sys.databases', []]]
    const lost = trialOf('database', gone)
    expect(await failedOf(lost.trial)).toEqual(['namespace'])
    expect(lost.sent.filter((text) => !text.includes('applock'))).toEqual([])
    expect(await failedOf(trialOf('database', [...mine, ['class = 0', [{ mark: 'tenant 2' }]]]).trial)).toEqual([
      'namespace',
    ])
    for (const settings of [
      { chained: 1, trusted: 0 },
      { chained: 0, trusted: 1 },
    ]) {
      const open: Answers = [...mine, ['is_db_chaining_on', [{ name: namespace, ...settings }]]]
      expect(await failedOf(trialOf('database', open).trial)).toEqual(['database'])
    }
  })

  it('the canary of another hour goes, that of this one stays', async () => {
    const [old, young] = [Date.now() - 4_000_000, Date.now()].map(
      (born) => `__tenancy_canary_${born.toString(36)}_0a1b2c`,
    )
    const objects = [old, young].map((name) => ({ name, type: 'USER_TABLE' }))
    const { trial, sent } = trialOf('schema', [...(marked['schema'] ?? []), ['o.is_ms_shipped = 0 order by', objects]])
    await verifyScope(trial)
    expect(sent).toContain(`drop table if exists [${namespace}].[${old}]`)
    expect(sent.join()).not.toContain(young)
  })

  it('goes red when everybody is led to one tenant, or a connection to another database', async () => {
    const all = await failedOf(
      trialOf('schema', marked['schema'] ?? [], (_who, text, row) => ownTables('own', `${text} /* __tenant__ */`, row))
        .trial,
    )
    for (const who of ['another tenant', 'no tenant'])
      for (const verb of ['read', 'insert', 'update', 'delete']) expect(all).toContain(`${who}: ${verb}`)
    expect(all).toContain('its own tenant: read by a plain name')
    const { trial } = trialOf('schema', marked['schema'] ?? [])
    expect(await failedOf({ ...trial, main: 'elsewhere' })).toEqual(['session'])
  })

  it('what is not understood is an error, and the canary goes all the same', async () => {
    const { trial, sent } = trialOf('schema', marked['schema'] ?? [], () => {
      throw fault(1205)
    })
    await expect(verifyScope(trial)).rejects.toMatchObject({ number: 1205 })
    expect(sent.filter((text) => text.startsWith('drop table'))).toHaveLength(1)
  })
})

describe('what an error says', () => {
  it.each([
    [208, 'not found'],
    [911, 'not found'],
    [229, 'not allowed'],
    [230, 'not allowed'],
    [916, 'not allowed'],
    [33_504, 'not allowed'],
    [15_151, 'not allowed'],
    [4701, 'not allowed'],
    [515, 'not allowed'],
    [547, 'refers to nothing'],
  ])('%i: %s', async (number, outcome) => {
    expect(await outcomeOf(() => Promise.reject(fault(number)))).toBe(outcome)
  })

  it('by its words where the number is nobody’s', async () => {
    const said = (message: string) => outcomeOf(() => Promise.reject(fault(33_557_097, message)))
    expect(await said('relation "x" does not exist')).toBe('not found')
    expect(await said('permission denied for table x')).toBe('not allowed')
    await expect(said('division by zero')).rejects.toThrow()
  })

  it('is not told from its words alone', async () => {
    for (const error of [fault(1205, 'x does not exist'), new Error('permission denied')]) {
      await expect(outcomeOf(() => Promise.reject(error))).rejects.toBe(error)
    }
  })

  it('counts rows that were read, else those that were changed last', () => {
    expect(countOf(rowsOf(2))).toBe(2)
    expect(countOf({ recordset: undefined, rowsAffected: [1, 3] })).toBe(3)
    expect(countOf({ recordset: [], rowsAffected: [5] })).toBe(0)
    expect(countOf({ rowsAffected: [] })).toBe(0)
  })
})

it('a login is asked as itself, in one question for each kind of right', async () => {
  const { query } = script([
    ['suser_sname', [{ login: 'app', name: 'app_user', defaultSchema: null }]],
    ["(values (N'db_owner')", [{ name: 'db_datareader' }]],
    ['sys.objects o join', [{ name: 'dbo.found' }]],
    ["object_id(N'sys.server_principals')", [{ found: 1 }]],
    ['from sys.server_principals where type', [{ name: 'sa' }]],
    ['from sys.database_principals where type', [{ name: 'dbo' }]],
  ])
  expect(await checkBaseline(query, 'app')).toMatchObject({
    login: 'app',
    user: 'app_user',
    defaultSchema: 'dbo',
    bypasses: [
      'is db_datareader',
      expect.stringContaining('is the admin login too') as string,
      // It was not told that there are users.
      'can become the login sa',
    ],
    reachable: ['dbo.found'],
  })
})

describe('verify under security policies', () => {
  const layout = layoutOf(scopeOf('rls'), shared)
  const at = { layout, column: 'tenant_id', ledger: '__drizzle_migrations' }
  const { name: fn } = predicateFunction(at, 'nvarchar')
  const table = (more: object = {}) => ({
    name: 'orders',
    type: 'nvarchar',
    length: 72,
    nullable: false,
    default: "(CONVERT([nvarchar](36),session_context(N'app.current_tenant')))",
    defaultName: 'd',
    indexed: 1,
    special: 0,
    ...more,
  })
  const force = (of: string, type: string, more: object = {}) => ({
    table: of,
    policy: `__tenancy_${of}`,
    definition: `([rls].[${fn}]([tenant_id]))`,
    type,
    operation: null,
    ...more,
  })
  const policies = ['orders', CANARY].flatMap((of) => [force(of, 'FILTER'), force(of, 'BLOCK')])
  const good: Answers = [
    ['sys.schemas s where', [{ mark: 'shared rls' }]],
    ['as mark from sys.extended_properties', []],
    ['sys.tables t join sys.schemas s', [{ mark: 'shared rls' }]],
    ['max_length', [table(), table({ name: CANARY })]],
    ['sys.security_predicates', policies],
  ]

  /** The rows of one transaction, kept apart as policies do it. */
  const kept = (leaky: (who: string, text: string) => Answer | undefined = () => undefined) => {
    const trial = trialOf('rls', good).trial
    const tenantOf = (scope: Scope) => scope.settings[TENANT_SETTING] ?? null
    const clientOf = (scope: Scope) => ({
      request: () => ({ query: async () => ({ recordset: [{ tenant: tenantOf(scope) }], rowsAffected: [1] }) }),
    })
    const asTenants: ScopeTrial['asTenants'] = async (work) => {
      let owner: string | null | undefined
      return work((rowKey) => async (text, parameters = []) => {
        if (text.includes('sys.tables')) return { recordset: [{ name: 'orders' }], rowsAffected: [1] }
        if (owner === undefined && text.includes('(id) values (1)')) owner = rowKey
        const who = rowKey === null ? 'none' : rowKey === owner ? 'own' : 'other'
        const leak = leaky(who, text)
        if (leak !== undefined) return leak
        if (text.startsWith('select 0 as i')) return { recordset: [], rowsAffected: [0] }
        if (/^(truncate|alter)/.test(text)) throw fault(text.startsWith('truncate') ? 4701 : 15_151)
        if (text.startsWith('insert') && text.includes('parent')) {
          if (who !== 'own') throw fault(547)
          return changed(1)
        }
        if (text.startsWith('insert') && rowKey === null && parameters.length === 0) throw fault(515)
        if (parameters.length > 0 && who !== 'own') throw fault(33_504)
        if (text.startsWith('insert')) return changed(1)
        return text.startsWith('select') ? rowsOf(who === 'own' ? 1 : 0) : changed(who === 'own' ? 1 : 0)
      })
    }
    const server: ScopeTrial['server'] = {
      client: clientOf,
      lazyTransaction: (scope) => ({ client: clientOf(scope), commit: async () => {}, rollback: async () => {} }),
    }
    return { ...trial, asTenants, server }
  }
  const catalogue = async (...answers: Answers) => {
    const { administering } = trialOf('rls', [...good, ...answers]).trial
    return failedOf({ ...kept(), administering })
  }

  it('is green where they hold', async () => {
    const { checks } = await verifyScope(kept())
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
    expect(checks.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['policies', 'setting', 'another tenant: upsert', 'no tenant: insert for a tenant']),
    )
  })

  it.each([
    ['no policy', 'sys.security_predicates', policies.filter(({ table: of }) => of !== 'orders'), ['policies']],
    [
      'a filter alone',
      'sys.security_predicates',
      policies.filter((one) => one.table !== 'orders' || one.type === 'FILTER'),
      ['policies'],
    ],
    [
      'no tenant column',
      'max_length',
      [table({ type: null, length: null }), table({ name: CANARY })],
      ['tenant column'],
    ],
    ['a history', 'max_length', [table({ special: 1 }), table({ name: CANARY })], ['copies']],
    [
      'a key without the tenant',
      'sys.foreign_keys k',
      [{ name: 'fk', child: 'a', parent: 'b', withTenant: 0 }],
      ['foreign keys'],
    ],
    ['a trigger', "'TR'", [{ name: 'trg', type: 'sql trigger' }], ['code']],
    ['a function of ours', "'TR'", [{ name: fn, type: 'sql inline table valued function' }], []],
    ['a schema of somebody else', 'sys.schemas s where', [{ mark: null }], ['namespace']],
    ['no schema', 'sys.schemas s where', [], ['namespace']],
    [
      'only what could be better',
      'max_length',
      [table({ nullable: true, default: null, indexed: 0 }), table({ name: CANARY })],
      [],
    ],
  ] as [string, string, object[], string[]][])('the catalogue: %s', async (_what, part, rows, expected) => {
    expect(await catalogue([part, rows])).toEqual(expected)
  })

  it('changes that are captured for everybody are copies', async () => {
    expect(
      await catalogue(
        ["object_id(N'cdc.change_tables')", [{ found: 1 }]],
        ['from cdc.change_tables', [{ name: 'orders' }]],
      ),
    ).toEqual(['copies'])
  })

  it('goes red when rows are seen, changed or taken', async () => {
    const leaks: [string, (who: string, text: string) => Answer | undefined][] = [
      [
        'another tenant: read',
        (who, text) => (who === 'other' && text.startsWith('select id') ? rowsOf(1) : undefined),
      ],
      [
        'another tenant: update',
        (who, text) =>
          who === 'other' && text.includes('set parent') && text.startsWith('update') ? changed(1) : undefined,
      ],
      [
        'another tenant: delete',
        (who, text) => (who === 'other' && text.startsWith('delete') ? changed(1) : undefined),
      ],
      [
        'another tenant: insert',
        (who, text) => (who === 'other' && text.includes('(@p0, 2)') ? changed(1) : undefined),
      ],
      ['another tenant: upsert', (who, text) => (who === 'other' && text.startsWith('merge') ? changed(1) : undefined)],
      [
        'another tenant: move a row',
        (who, text) => (who === 'other' && text.includes('set [tenant_id]') ? changed(1) : undefined),
      ],
      [
        'another tenant: refer to it',
        (who, text) => (who === 'other' && text.includes('(5, 1)') ? changed(1) : undefined),
      ],
      ['another tenant: truncate', (_who, text) => (text.startsWith('truncate') ? changed(0) : undefined)],
      ['another tenant: switch policies off', (_who, text) => (text.startsWith('alter') ? changed(0) : undefined)],
      ['no tenant: read', (who, text) => (who === 'none' && text.startsWith('select id') ? rowsOf(1) : undefined)],
      ['no tenant: insert', (who, text) => (who === 'none' && text.includes('values (4)') ? changed(1) : undefined)],
      ['its own tenant: read', (who, text) => (who === 'own' && text.startsWith('select id') ? rowsOf(0) : undefined)],
      [
        'rows of the application',
        (_who, text) => (text.startsWith('select 0 as i') ? { recordset: [{ i: 0 }], rowsAffected: [1] } : undefined),
      ],
    ]
    for (const [name, leaky] of leaks) expect(await failedOf(kept(leaky)), name).toEqual([name])
  })

  it('goes red when the tenant is not carried, or outlives its statement', async () => {
    const always = (tenant: string | null) => ({
      request: () => ({ query: async () => ({ recordset: [{ tenant }], rowsAffected: [1] }) }),
    })
    for (const tenant of [null, 'x']) {
      const server: ScopeTrial['server'] = {
        client: () => always(tenant),
        lazyTransaction: () => ({ client: always(tenant), commit: async () => {}, rollback: async () => {} }),
      }
      expect(await failedOf({ ...kept(), server })).toEqual(['setting'])
    }
  })

  it('makes its canary once, with a policy, and gives the serving user its rows', async () => {
    let made = false
    const { sent, query } = script([])
    const asked: typeof query = (async (text: string, parameters?: readonly unknown[]) => {
      if (text.startsWith('create table')) made = true
      if (text.includes('max_length')) {
        return made ? [table({ name: CANARY, default: null, defaultName: null })] : []
      }
      return query(text, parameters)
    }) as never
    await ensureCanary(asked, at, 'app')
    expect(sent).toEqual([
      'create table [rls].[__tenancy_canary] ([tenant_id] nvarchar(36) not null, id int not null, parent int, primary key ([tenant_id], id), foreign key ([tenant_id], parent) references [rls].[__tenancy_canary] ([tenant_id], id))',
      `alter table [rls].[__tenancy_canary] add default (cast(session_context(N'app.current_tenant') as nvarchar(36))) for [tenant_id]`,
      expect.stringContaining(`create function [rls].[${fn}]`) as string,
      expect.stringContaining(
        'create security policy [rls].[__tenancy___tenancy_canary] add filter predicate',
      ) as string,
      'grant select, insert, update, delete on [rls].[__tenancy_canary] to [app]',
    ])
    sent.length = 0
    await ensureCanary(asked, at, 'app')
    expect(sent).toEqual([])
  })

  it('tries what only an owner may, by the name of the policy', () => {
    const tried = rowAttempts(at).flatMap(({ statements }) => statements)
    expect(tried).toContain('alter security policy [rls].[__tenancy___tenancy_canary] with (state = off)')
    expect(tried.filter((text) => text.startsWith('merge')).every((text) => text.endsWith(';'))).toBe(true)
  })
})
