import { describe, expect, it } from 'vitest'
import type { AdminConnection } from '../../../src/contracts/dialect.ts'
import { type Scope, TENANT_SETTING } from '../../../src/contracts/isolation.ts'
import type { StrategyName } from '../../../src/contracts/tenant.ts'
import { destroyNamespace, releaseNamespace } from '../../../src/dialects/mssql/destroy-namespace.ts'
import { layoutOf } from '../../../src/dialects/mssql/layout.ts'
import { locked } from '../../../src/dialects/mssql/lock.ts'
import { openNamespaceSession } from '../../../src/dialects/mssql/namespace-session.ts'
import type { SharedTable, StoredPredicate } from '../../../src/dialects/mssql/rls/catalogue.ts'
import { childrenFirst } from '../../../src/dialects/mssql/rls/destroy-rows.ts'
import { isProtected, policyName, predicateFunction } from '../../../src/dialects/mssql/rls/policy.ts'
import { protect } from '../../../src/dialects/mssql/rls/protect.ts'
import { droppedTables } from '../../../src/dialects/mssql/rls/release-dropped.ts'
import { claimRowKey } from '../../../src/dialects/mssql/rls/row-keys.ts'
import { destroyDatabase, inDatabase } from '../../../src/dialects/mssql/tenant-database.ts'
import { script } from './script.ts'

/*
 * What is written, for those who have no SQL Server: a script of answers to what is asked of the catalogue, and everything
 * else that was sent. That it does what it says is for the suites that have one.
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
const rights = { servingUser: 'app', shared }

describe('a namespace', () => {
  it('of its own schema is made, marked, and its tables are granted one by one', async () => {
    const { sent, query } = script([
      [
        'sys.objects o',
        [
          { name: 'a', type: 'USER_TABLE' },
          { name: 'v', type: 'VIEW' },
          { name: 'q', type: 'SEQUENCE_OBJECT' },
          { name: '__drizzle_migrations', type: 'USER_TABLE' },
        ],
      ],
      [
        'sys.database_permissions',
        ['SELECT', 'INSERT', 'UPDATE', 'DELETE'].map((permission) => ({ name: 'v', permission })),
      ],
    ])
    const session = openNamespaceSession(query, scopeOf('schema'), rights)
    expect(await session.ensure()).toBe(true)
    await session.seal()
    expect(sent).toEqual([
      `create schema [${namespace}]`,
      `exec sys.sp_addextendedproperty @name = N'fastify-tenancy', @value = @p0, @level0type = N'SCHEMA', @level0name = @p1 -- ${JSON.stringify([`tenant ${ID}`, namespace])}`,
      `create table [${namespace}].[__drizzle_migrations] (id int identity primary key, hash nvarchar(255) not null, created_at bigint, name nvarchar(max), applied_at datetime2 not null default sysutcdatetime())`,
      `exec sys.sp_addextendedproperty @name = N'fastify-tenancy', @value = @p0, @level0type = N'SCHEMA', @level0name = @p1, @level1type = N'TABLE', @level1name = @p2 -- ${JSON.stringify([`tenant ${ID}`, namespace, '__drizzle_migrations'])}`,
      `grant select, insert, update, delete on [${namespace}].[a] to [app]; grant update on [${namespace}].[q] to [app]`,
    ])
  })

  it('with the mark of another tenant, or without one, is not taken', async () => {
    for (const mark of ['tenant id-2', null]) {
      const { sent, query } = script([['sys.schemas s where', [{ mark }]]])
      await expect(openNamespaceSession(query, scopeOf('schema'), rights).ensure()).rejects.toMatchObject({
        code: 'TENANCY_ERR_NAMESPACE_EXISTS',
      })
      await expect(destroyNamespace(query, scopeOf('schema'), rights)).rejects.toMatchObject({
        code: 'TENANCY_ERR_NAMESPACE_EXISTS',
      })
      expect(sent).toEqual([])
    }
  })

  it('is destroyed with its foreign keys first, then views, tables and sequences, and then the schema', async () => {
    const answers: [string, object[]][] = [
      [
        'sys.objects o',
        [
          { name: 'q', type: 'SEQUENCE_OBJECT' },
          { name: 'v', type: 'VIEW' },
          { name: 'a', type: 'USER_TABLE' },
        ],
      ],
      [
        'sys.foreign_keys k',
        [{ name: 'fk', childSchema: namespace, child: 'a', parentSchema: namespace, parent: 'a' }],
      ],
      ['sys.schemas s where', [{ mark: `tenant ${ID}` }]],
    ]
    const { sent, query } = script(answers)
    const gone: AdminConnection['query'] = (async (text: string, parameters?: readonly unknown[]) => {
      if (text.startsWith('drop sequence')) answers[0] = ['sys.objects o', []]
      if (text.startsWith('drop schema')) answers[2] = ['sys.schemas s where', []]
      return query(text, parameters)
    }) as never
    expect(await destroyNamespace(gone, scopeOf('schema'), rights)).toEqual({ objects: 4, rows: 0 })
    expect(sent).toEqual([
      `alter table [${namespace}].[a] drop constraint [fk]`,
      `drop view if exists [${namespace}].[v]`,
      `drop table if exists [${namespace}].[a]`,
      `drop sequence if exists [${namespace}].[q]`,
      `drop schema [${namespace}]`,
    ])
  })

  it('is worked on by one at a time, the shared schema before the tenant', async () => {
    const { sent, query } = script([['sp_getapplock', [{ got: 0 }]]])
    expect(await locked(query, scopeOf('prefix'), layoutOf(scopeOf('prefix'), shared), async () => 'done')).toBe('done')
    expect(sent.map((text) => /(getapplock|releaseapplock).*-- \["(.*)"\]/.exec(text)?.slice(1))).toEqual([
      ['getapplock', 'fastify-tenancy:prefixed'],
      ['getapplock', `fastify-tenancy:${namespace}`],
      ['releaseapplock', `fastify-tenancy:${namespace}`],
      ['releaseapplock', 'fastify-tenancy:prefixed'],
    ])
    const refused = script([['sp_getapplock', [{ got: -1 }]]])
    await expect(
      locked(refused.query, scopeOf('schema'), layoutOf(scopeOf('schema'), shared), async () => 'done'),
    ).rejects.toMatchObject({ code: 'TENANCY_ERR_DATABASE_UNAVAILABLE' })
  })
})

describe('a database', () => {
  const access = (answers: Parameters<typeof script>[0]) => {
    const { sent, query } = script(answers)
    return {
      sent,
      access: {
        query,
        use: async (name: string) => void sent.push(`use ${name}`),
        transaction: async <T>(work: () => Promise<T>) => {
          sent.push('begin')
          const result = await work()
          sent.push('commit')
          return result
        },
        main: 'saas',
        servingLogin: 'app_login',
        rights,
      },
    }
  }

  it('[W27] is made outside of a transaction, marked, and filled in one', async () => {
    const { sent, access: given } = access([['count(*) as objects', [{ objects: 0 }]]])
    expect(await inDatabase(given, scopeOf('database'), async () => 'done')).toBe('done')
    expect(sent).toEqual([
      `create database [${namespace}]`,
      `use ${namespace}`,
      'create user [app] for login [app_login]',
      `exec sys.sp_addextendedproperty @name = N'fastify-tenancy', @value = @p0 -- ["tenant ${ID}"]`,
      'begin',
      'commit',
      'use saas',
    ])
  })

  it('[W27] is dropped with what is in it, and only what is gone counts as dropped', async () => {
    const found: [string, object[]][] = [
      ['sys.databases', [{ own: 1 }]],
      ['class = 0', [{ mark: `tenant ${ID}` }]],
      ['count(*) as objects', [{ objects: 3 }]],
    ]
    const stubborn = access(found)
    await expect(destroyDatabase(stubborn.access, scopeOf('database'))).rejects.toMatchObject({
      code: 'TENANCY_ERR_DESTROY_INCOMPLETE',
    })
    const answers = [...found]
    const { sent, access: given } = access(answers)
    const gone: AdminConnection['query'] = (async (text: string, parameters?: readonly unknown[]) => {
      if (text.includes('drop database')) answers[0] = ['sys.databases', []]
      return given.query(text, parameters)
    }) as never
    expect(await destroyDatabase({ ...given, query: gone }, scopeOf('database'))).toEqual({ objects: 4, rows: 0 })
    expect(sent).toEqual([
      `use ${namespace}`,
      'use saas',
      'use saas',
      `alter database [${namespace}] set single_user with rollback immediate`,
      `if db_id(N'${namespace}') is not null drop database [${namespace}]`,
    ])
    // What is not there is told as nothing, and nothing is sent.
    const none = access([])
    expect(await destroyDatabase(none.access, scopeOf('database'))).toEqual({ objects: 0, rows: 0 })
    expect(none.sent).toEqual([])
  })

  it('that this call made is dropped when it fails, and no other', async () => {
    const fail = async () => {
      throw new Error('broken')
    }
    const made = access([['count(*) as objects', [{ objects: 0 }]]])
    await expect(inDatabase(made.access, scopeOf('database'), fail)).rejects.toThrow('broken')
    expect(made.sent).toContain(`if db_id(N'${namespace}') is not null drop database [${namespace}]`)
    const found = access([
      ['sys.databases', [{ own: 1 }]],
      ['class = 0', [{ mark: `tenant ${ID}` }]],
    ])
    await expect(inDatabase(found.access, scopeOf('database'), fail)).rejects.toThrow('broken')
    expect(found.sent.filter((text) => /create|drop|alter/.test(text))).toEqual([])
  })

  it.each([
    ['marked as somebody else’s', [['class = 0', [{ mark: 'tenant id-2' }]]]],
    ['without a mark, with something in it', [['count(*) as objects', [{ objects: 1 }]]]],
  ] as [string, [string, object[]][]][])('%s is neither taken nor dropped', async (_, more) => {
    const { sent, access: given } = access([['sys.databases', [{ own: 1 }]], ...more])
    const code = { code: 'TENANCY_ERR_NAMESPACE_EXISTS' }
    await expect(inDatabase(given, scopeOf('database'), async () => 'done')).rejects.toMatchObject(code)
    await expect(destroyDatabase(given, scopeOf('database'))).rejects.toMatchObject(code)
    expect(sent.filter((text) => !text.startsWith('use'))).toEqual([])
  })
})

describe('security policies', () => {
  const layout = layoutOf(scopeOf('rls'), shared)
  const at = { layout, column: 'tenant_id', ledger: '__drizzle_migrations' }
  const table = (more: Partial<SharedTable> = {}): SharedTable => ({
    name: 'orders',
    type: 'uniqueidentifier',
    length: 16,
    nullable: false,
    default: "(CONVERT([uniqueidentifier],CONVERT([nvarchar](36),session_context(N'app.current_tenant'))))",
    defaultName: 'd',
    indexed: 1,
    special: 0,
    ...more,
  })
  const { name: fn, create } = predicateFunction(at, 'uniqueidentifier')
  const force = (type: StoredPredicate['type'], more: Partial<StoredPredicate> = {}): StoredPredicate => ({
    table: 'orders',
    policy: '__tenancy_orders',
    definition: `([rls].[${fn}]([tenant_id]))`,
    type,
    operation: null,
    ...more,
  })
  const run = async (
    tables: SharedTable[],
    stored: StoredPredicate[] = [],
    more: Parameters<typeof script>[0] = [],
  ) => {
    const { sent, query } = script([
      ['sys.tables t', tables],
      ['sys.security_predicates', stored],
      ['sys.foreign_keys k', []],
      ...more,
    ])
    await protect(query, at)
    return sent
  }

  it('compare the column, uncast, with the session’s tenant in its own type', () => {
    expect(create).toBe(
      `create function [rls].[${fn}] (@tenant uniqueidentifier) returns table with schemabinding as return ` +
        `(select 1 as allowed where @tenant = cast(cast(session_context(N'app.current_tenant') as nvarchar(36)) as uniqueidentifier))`,
    )
    expect(predicateFunction(at, 'nvarchar').create).toContain(
      `(@tenant nvarchar(36)) returns table with schemabinding as return (select 1 as allowed where @tenant = cast(session_context(N'app.current_tenant') as nvarchar(36)))`,
    )
  })

  it('are made for a table that has none, and everything else that it lacks', async () => {
    expect(await run([table({ nullable: true, default: null, defaultName: null, indexed: 0 })])).toEqual([
      'alter table [rls].[orders] alter column [tenant_id] uniqueidentifier not null',
      `alter table [rls].[orders] add default (cast(cast(session_context(N'app.current_tenant') as nvarchar(36)) as uniqueidentifier)) for [tenant_id]`,
      'create index [__tenancy_tenant] on [rls].[orders] ([tenant_id])',
      create,
      `create security policy [rls].[__tenancy_orders] add filter predicate [rls].[${fn}]([tenant_id]) on [rls].[orders], add block predicate [rls].[${fn}]([tenant_id]) on [rls].[orders] with (state = on, schemabinding = on)`,
    ])
  })

  it('that are in force are left alone', async () => {
    expect(await run([table()], [force('FILTER'), force('BLOCK')])).toEqual([])
  })

  it.each([
    ['only filter', [force('FILTER')]],
    ['only block', [force('BLOCK')]],
    ['block one operation', [force('FILTER'), force('BLOCK', { operation: 'AFTER INSERT' })]],
    ['ask another function', [force('FILTER', { definition: '([dbo].[f]([tenant_id]))' }), force('BLOCK')]],
    ['ask of another column', [force('FILTER'), force('BLOCK', { definition: `([rls].[${fn}]([id]))` })]],
  ])('that %s are made anew, while nobody can read the table', async (_, stored) => {
    const sent = await run([table()], stored)
    expect(sent.slice(0, 2)).toEqual([
      'alter table [rls].[orders] set (lock_escalation = table)',
      'drop security policy if exists [rls].[__tenancy_orders]',
    ])
    expect(sent.at(-1)).toContain('create security policy [rls].[__tenancy_orders]')
  })

  it('share one function, which is made once', async () => {
    const sent = await run([table(), table({ name: 'lines' })])
    expect(sent.filter((text) => text.startsWith('create function'))).toHaveLength(1)
    expect(sent.filter((text) => text.startsWith('create security policy'))).toHaveLength(2)
  })

  it.each([
    ['a table without a tenant', [table({ type: null })], []],
    ['a tenant that is a number', [table({ type: 'int' })], []],
    ['a tenant without a length', [table({ type: 'nvarchar', length: -1 })], []],
    ['a table with a history', [table({ special: 1 })], []],
    [
      'a foreign key without the tenant',
      [table()],
      [['sys.foreign_keys k', [{ name: 'fk', child: 'a', parent: 'b', withTenant: 0 }]]],
    ],
    ['a trigger', [table()], [["'TR'", [{ name: 'trg', type: 'sql trigger' }]]]],
  ] as [string, SharedTable[], [string, object[]][]][])(
    'refuse %s before anything is changed',
    async (_, tables, more) => {
      await expect(run(tables, [], more)).rejects.toMatchObject({ code: 'TENANCY_ERR_RLS_UNPROTECTABLE' })
    },
  )

  it('are told apart by table, by name and by what they say', () => {
    expect(isProtected(at, 'orders', fn, [force('FILTER'), force('BLOCK')])).toBe(true)
    expect(isProtected(at, 'lines', fn, [force('FILTER'), force('BLOCK')])).toBe(false)
    expect(isProtected(at, 'orders', fn, [force('FILTER', { policy: 'theirs' }), force('BLOCK')])).toBe(false)
    expect(policyName('x'.repeat(128)).length).toBeLessThanOrEqual(128)
  })

  it('are taken off the tables that a migration drops', () => {
    expect(droppedTables('DROP TABLE [rls].[a], [rls].[b];', layout)).toEqual(['a', 'b'])
    expect(droppedTables('ALTER TABLE [rls].[a] DROP COLUMN [b]', layout)).toEqual([])
    expect(droppedTables('CREATE TABLE [rls].[a] ([x] int)', layout)).toEqual([])
  })
})

describe('the rows of a tenant', () => {
  const tables = [
    { name: 'parents', type: 'nvarchar' },
    { name: 'children', type: 'nvarchar' },
    { name: 'plans', type: null },
  ]
  const keys = [
    { name: 'fk', child: 'children', parent: 'parents', withTenant: 1 },
    { name: 'self', child: 'parents', parent: 'parents', withTenant: 1 },
  ]
  const asked = (left: number): Parameters<typeof script>[0] => [
    ['sys.schemas s where s.name', [{ mark: 'shared rls' }]],
    ['sys.tables t', tables],
    ['sys.foreign_keys k', keys],
    ['session_context', [{ tenant: ID }]],
    ['as mark from sys.tables t', [{ mark: 'row keys' }]],
    ['select tenant from', [{ tenant: ID }]],
    ['count(*) as n', [{ n: left }]],
    ['@@rowcount', [{ n: 0 }]],
  ]

  it('are deleted as that tenant, children first, and counted', async () => {
    const { sent, query } = script(asked(0))
    expect(await destroyNamespace(query, scopeOf('rls'), rights)).toEqual({ objects: 0, rows: 0 })
    expect(sent).toEqual([
      expect.stringMatching(/^insert into \[rls\]\.\[__tenancy_row_keys\] /) as string,
      `exec sys.sp_set_session_context @key = N'app.current_tenant', @value = @p0 -- ["${ID}"]`,
      `delete top (2000) from [rls].[children] where [tenant_id] = @p0; select @@rowcount as n -- ["${ID}"]`,
      `delete from [rls].[parents] where [tenant_id] = @p0; select @@rowcount as n -- ["${ID}"]`,
      `exec sys.sp_set_session_context @key = N'app.current_tenant', @value = @p0 -- [null]`,
    ])
  })

  it('that are left are an error, and so is a session that keeps another tenant', async () => {
    await expect(destroyNamespace(script(asked(1)).query, scopeOf('rls'), rights)).rejects.toMatchObject({
      code: 'TENANCY_ERR_DESTROY_INCOMPLETE',
    })
    const poisoned = script([...asked(0), ['session_context', [{ tenant: 'id-2' }]]])
    await expect(destroyNamespace(poisoned.query, scopeOf('rls'), rights)).rejects.toMatchObject({
      code: 'TENANCY_ERR_DATABASE_UNAVAILABLE',
    })
    expect(poisoned.sent.filter((text) => text.startsWith('delete'))).toEqual([])
  })

  it('with a key that another tenant has are not its own', async () => {
    const { sent, query } = script([...asked(0), ['select tenant from', [{ tenant: 'id-2' }]]])
    await expect(destroyNamespace(query, scopeOf('rls'), rights)).rejects.toMatchObject({
      code: 'TENANCY_ERR_DESTROY_INCOMPLETE',
    })
    expect(sent.filter((text) => text.startsWith('delete'))).toEqual([])
    const taken = script([['select tenant from', [{ tenant: 'id-2' }]]])
    await expect(openNamespaceSession(taken.query, scopeOf('rls'), rights).seal()).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_EXISTS',
    })
  })

  it('have a key that is written down, in a table of ours, which is nobody else’s', async () => {
    const layout = layoutOf(scopeOf('rls'), shared)
    const fresh = script([['select tenant from', [{ tenant: ID }]]])
    expect(await claimRowKey(fresh.query, layout, scopeOf('rls'))).toBe(true)
    const table = '[rls].[__tenancy_row_keys]'
    expect(fresh.sent).toEqual([
      `create table ${table} (row_key nvarchar(36) collate Latin1_General_BIN2 not null primary key, tenant nvarchar(36) not null)`,
      expect.stringContaining('["row keys","rls","__tenancy_row_keys"]') as string,
      `insert into ${table} (row_key, tenant) select @p0, @p1 where not exists (select 1 from ${table} where row_key = @p0) -- ["${ID}","${ID}"]`,
    ])
    const taken = script([['as mark from sys.tables t', [{ mark: null }]]])
    await expect(claimRowKey(taken.query, layout, scopeOf('rls'))).rejects.toMatchObject({
      code: 'TENANCY_ERR_NAMESPACE_EXISTS',
    })
    expect(taken.sent).toEqual([])
  })

  it('that never came leave no key behind, and nothing of anybody else goes', async () => {
    const ours = script(asked(0))
    await releaseNamespace(ours.query, scopeOf('rls'), rights)
    expect(ours.sent).toEqual([`delete from [rls].[__tenancy_row_keys] where tenant = @p0 -- ["${ID}"]`])
    const unmade = script([])
    await releaseNamespace(unmade.query, scopeOf('rls'), rights)
    expect(unmade.sent).toEqual([])
    const theirs: Parameters<typeof script>[0][] = [
      [['sys.schemas s where s.name', [{ mark: null }]]],
      [...asked(0), ['as mark from sys.tables t', [{ mark: null }]]],
    ]
    for (const answers of theirs) {
      const { sent, query } = script(answers)
      await expect(releaseNamespace(query, scopeOf('rls'), rights)).rejects.toMatchObject({
        code: 'TENANCY_ERR_NAMESPACE_EXISTS',
      })
      expect(sent).toEqual([])
    }
  })

  it('come in an order in which none refers to one that is gone', () => {
    const chain = [
      { child: 'c', parent: 'b' },
      { child: 'b', parent: 'a' },
    ]
    expect(childrenFirst(['a', 'b', 'c'], chain)).toEqual(['c', 'b', 'a'])
    expect(childrenFirst(['a', 'b'], [...chain, { child: 'a', parent: 'b' }])).toHaveLength(2)
  })
})
