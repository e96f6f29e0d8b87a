import { describe, expect, it } from 'vitest'
import type { AdminConnection } from '../../../src/contracts/dialect.ts'
import type { Scope } from '../../../src/contracts/isolation.ts'
import type { StrategyName } from '../../../src/contracts/tenant.ts'
import { detachNamespace } from '../../../src/dialects/mssql/destroy-namespace.ts'
import type { HeldRight } from '../../../src/dialects/mssql/held-rights.ts'
import { layoutOf } from '../../../src/dialects/mssql/layout.ts'
import { openNamespaceSession } from '../../../src/dialects/mssql/namespace-session.ts'
import { createDdlParser } from '../../../src/dialects/mssql/parse-ddl.ts'
import { protect } from '../../../src/dialects/mssql/rls/protect.ts'
import { detachFromShared } from '../../../src/dialects/mssql/shared/detach.ts'
import { lockReferences, refuseMisuse } from '../../../src/dialects/mssql/shared/misuse.ts'
import { sharedNamespace } from '../../../src/dialects/mssql/shared/namespace.ts'
import { sealShared } from '../../../src/dialects/mssql/shared/rights.ts'
import { type Answers, script } from './script.ts'

/* What is written about shared tables, for those who have no SQL Server, and how its catalogue is judged. */

const schemas = { rlsSchema: 'rls', prefixSchema: 'prefixed', tenantColumn: 'tenant_id' }
const shared = { schema: 'shared', names: ['plans', 'tags'], writable: ['tags'], tenantColumn: 'tenant_id' }
const namespace = `t${'1'.repeat(25)}`
const scopeOf = (strategy: StrategyName): Scope => ({
  tenantId: 'id-1',
  server: 'main',
  namespace,
  strategy,
  settings: {},
})
const layout = {
  database: undefined,
  schema: 'shared',
  own: true,
  naming: { qualifier: ['shared'], prefix: '' },
  ddlNaming: { qualifier: ['shared'], prefix: '' },
}
const tables = ['plans', 'tags', 'internal', '__drizzle_migrations'].map((name) => ({ name, type: 'USER_TABLE' }))
const right = (object: string | null, permission: string, more: Partial<HeldRight> = {}): HeldRight => ({
  grantee: 'app',
  permission,
  on: 'OBJECT_OR_COLUMN',
  schema: 'shared',
  object,
  column: null,
  grantable: 0,
  ...more,
})
const exact = [
  right('plans', 'SELECT'),
  ...['SELECT', 'INSERT', 'UPDATE', 'DELETE'].map((permission) => right('tags', permission)),
]
const CONNECT = right(null, 'CONNECT', { on: 'DATABASE', schema: null })

describe('the rights on shared tables', () => {
  const seal = async (rights: readonly HeldRight[], more: Answers = [], user: string | undefined = 'app') => {
    const { sent, query } = script([['o.is_ms_shipped = 0', tables], ['sys.database_permissions', rights], ...more])
    await sealShared({ query, layout, shared, user })
    return sent
  }
  const GRANT_TAGS = 'grant select, insert, update, delete on [shared].[tags] to [app]'

  it('are given by table: to read, and to write where the configuration says so', async () => {
    expect(await seal([CONNECT])).toEqual(['grant select on [shared].[plans] to [app]', GRANT_TAGS])
  })

  it('that are right are left alone', async () => {
    expect(await seal([CONNECT, ...exact])).toEqual([])
    expect(await seal([...exact, right('orders', 'DELETE', { schema: 'elsewhere' })])).toEqual([])
  })

  it.each([
    ['to write what is to be read', right('plans', 'DELETE'), ['revoke delete on [shared].[plans] from [app] cascade']],
    ['on a table beside', right('internal', 'SELECT'), ['revoke select on [shared].[internal] from [app] cascade']],
    [
      'on the ledger, of everybody',
      right('__drizzle_migrations', 'SELECT', { grantee: 'public' }),
      ['revoke select on [shared].[__drizzle_migrations] from [public] cascade'],
    ],
    [
      'of everybody to read a table',
      right('plans', 'SELECT', { grantee: 'public' }),
      ['revoke select on [shared].[plans] from [public] cascade'],
    ],
    ['to refer to a table', right('tags', 'REFERENCES'), ['revoke references on [shared].[tags] from [app] cascade']],
    [
      'on a column',
      right('plans', 'UPDATE', { column: 'name' }),
      ['revoke update on [shared].[plans] ([name]) from [app] cascade'],
    ],
  ] as [string, HeldRight, string[]][])('too many are taken back: %s', async (_what, excess, expected) => {
    expect(await seal([...exact, excess])).toEqual(expected)
  })

  it('that can be given on are taken back and given anew', async () => {
    const [first, ...rest] = exact
    expect(await seal([{ ...(first as HeldRight), grantable: 1 }, ...rest])).toEqual([
      'revoke select on [shared].[plans] from [app] cascade',
      'grant select on [shared].[plans] to [app]',
    ])
    expect(await seal([...exact, right('plans', 'SELECT', { column: 'id' })])).toEqual([
      'revoke select on [shared].[plans] ([id]) from [app] cascade',
      'grant select on [shared].[plans] to [app]',
    ])
  })

  it.each([
    ['on the whole schema', [right(null, 'SELECT', { on: 'SCHEMA' })], []],
    ['on the whole database', [right(null, 'SELECT', { on: 'DATABASE', schema: null })], []],
    [
      'by way of a role',
      [right('plans', 'DELETE', { grantee: 'team' })],
      [['sys.database_role_members', [{ member: 'app', role: 'team', fixed: 0 }]]],
    ],
    [
      'as a reader of everything',
      [],
      [['sys.database_role_members', [{ member: 'app', role: 'db_datareader', fixed: 1 }]]],
    ],
    ['as the owner', [], [['as owner', [{ schema: 'shared', object: null, owner: 'app' }]]]],
  ] as [string, HeldRight[], Answers][])('that reach further stop it: %s', async (_what, rights, more) => {
    await expect(seal([...exact, ...rights], more)).rejects.toMatchObject({ code: 'TENANCY_ERR_SHARED_TABLES' })
  })

  it.each([
    ['a table that nobody made', [['o.is_ms_shipped = 0', tables.slice(1)]], 'plans is not made'],
    ['a table with the tenant column', [['sys.columns c join', [{ name: 'tags' }]]], 'tags has the column tenant_id'],
    [
      'a view to write',
      [['o.is_ms_shipped = 0', tables.map((one) => ({ ...one, type: one.name === 'tags' ? 'VIEW' : one.type }))]],
      'tags is writable and no table',
    ],
    [
      'a key by which a change of a tenant goes on',
      [['sys.foreign_keys k', [{ key: 'fk', schema: 'rls', child: 'x', parent: 'tags' }]]],
      'the foreign key fk',
    ],
  ] as [string, Answers, string][])('stop at %s', async (_what, more, reason) => {
    await expect(seal(exact, more)).rejects.toMatchObject({
      code: 'TENANCY_ERR_SHARED_TABLES',
      message: expect.stringContaining(reason) as string,
    })
  })

  it('are nobody’s where one login does all', async () => {
    const { sent, query } = script([['o.is_ms_shipped = 0', tables]])
    await sealShared({ query, layout, shared, user: undefined })
    expect(sent).toEqual([])
  })

  it('know keys among what tenants write, and to what they only read', async () => {
    for (const key of [
      { key: 'fk', schema: 'shared', child: 'tags', parent: 'tags' },
      { key: 'fk', schema: 'rls', child: 'x', parent: 'plans' },
    ]) {
      expect(await seal(exact, [['sys.foreign_keys k', [key]]])).toEqual([])
    }
  })
})

describe('a tenant beside shared tables', () => {
  const own = layoutOf(scopeOf('prefix'), schemas)
  it.each([
    [
      'a table of its own by the name of one',
      [['o.is_ms_shipped = 0', [{ name: `${namespace}__PLANS`, type: 'USER_TABLE' }]]],
    ],
    [
      'a key by which its changes would go on',
      [['sys.foreign_keys k', [{ key: 'fk', schema: 'prefixed', child: `${namespace}__x`, parent: 'tags' }]]],
    ],
  ] as [string, Answers][])('is refused %s', async (_what, answers) => {
    await expect(refuseMisuse(script(answers).query, own, shared)).rejects.toMatchObject({
      code: 'TENANCY_ERR_SHARED_TABLES',
    })
  })

  it('may have what others have', async () => {
    const other = `t${'2'.repeat(25)}__`
    const { query } = script([
      ['o.is_ms_shipped = 0', [{ name: `${other}plans`, type: 'USER_TABLE' }]],
      ['sys.foreign_keys k', [{ key: 'fk', schema: 'prefixed', child: `${other}x`, parent: 'tags' }]],
    ])
    await expect(refuseMisuse(query, own, shared)).resolves.toBeUndefined()
    const none = { ...shared, writable: [] }
    const changing = script([
      ['sys.foreign_keys k', [{ key: 'fk', schema: 'prefixed', child: `${namespace}__x`, parent: 'plans' }]],
    ])
    await expect(refuseMisuse(changing.query, own, none)).resolves.toBeUndefined()
  })

  it('refers to them and does nothing else with them', () => {
    const parse = createDdlParser(schemas, shared)
    const key = 'ALTER TABLE [a] ADD CONSTRAINT [fk] FOREIGN KEY ([x]) REFERENCES [plans]([id]);'
    expect(parse(key).render(scopeOf('schema'))).toBe(
      `ALTER TABLE [${namespace}].[a] ADD CONSTRAINT [fk] FOREIGN KEY ([x]) REFERENCES [shared].[plans]([id]);`,
    )
    for (const statement of [
      'CREATE TABLE [plans] ([id] int)',
      'DROP TABLE [Plans]',
      'CREATE VIEW [v] AS select [id] from [plans]',
      'ALTER TABLE [a] ADD CONSTRAINT [fk] FOREIGN KEY ([x]) REFERENCES [tags]([id]) ON DELETE CASCADE',
    ]) {
      expect(() => parse(statement), statement).toThrow()
    }
  })

  it('waits for others that refer to them, before the statement', async () => {
    const { sent, query } = script([['sp_getapplock', [{ got: 0 }]]])
    const session = openNamespaceSession(query, scopeOf('schema'), {
      servingUser: 'app',
      shared: schemas,
      sharedTables: shared,
    })
    await session.run('create table [x] ([id] int)')
    await session.run('alter table [x] add foreign key ([id]) references [shared].[plans] ([id])')
    expect(sent.map((text) => text.slice(0, 24))).toEqual([
      'create table [x] ([id] i',
      'declare @got int; exec @',
      'alter table [x] add fore',
    ])
    expect(sent[1]).toContain("@LockOwner = N'Transaction'")
    const refused = script([['sp_getapplock', [{ got: -3 }]]])
    await expect(lockReferences(refused.query, '[shared].[plans]', shared)).rejects.toMatchObject({
      code: 'TENANCY_ERR_DATABASE_UNAVAILABLE',
    })
  })

  it('that shares tables may have keys to them without its column, and by none that changes it', async () => {
    const at = { layout: layoutOf(scopeOf('rls'), schemas), column: 'tenant_id', ledger: '__drizzle_migrations' }
    const withKey = (toShared: number) =>
      protect(
        script([['sys.foreign_keys k', [{ name: 'fk', child: 'a', parent: 'plans', withTenant: 0, toShared }]]]).query,
        at,
      )
    await expect(withKey(1)).resolves.toBeUndefined()
    await expect(withKey(0)).rejects.toMatchObject({ code: 'TENANCY_ERR_RLS_UNPROTECTABLE' })
  })
})

describe('removing a tenant that refers to shared tables', () => {
  const keys: Answers = [
    [
      'sys.foreign_keys k',
      [
        { table: `${namespace}__a`, key: 'fk_a' },
        { table: `t${'2'.repeat(25)}__a`, key: 'fk_b' },
      ],
    ],
  ]
  const marked: Answers = [
    ['sys.schemas s where', [{ mark: 'shared prefix' }]],
    ['sys.tables t join', [{ mark: 'tenant id-1' }]],
  ]
  const DROP = `set lock_timeout 300; alter table [prefixed].[${namespace}__a] drop constraint [fk_a]`
  const rights = { servingUser: 'app', shared: schemas, sharedTables: shared }

  it('drops its keys one by one, and those of nobody else', async () => {
    const { sent, query } = script([...marked, ...keys])
    await detachNamespace(query, scopeOf('prefix'), rights)
    expect(sent).toEqual([DROP])
  })

  it('drops none of a namespace that is another tenant’s, or where nothing is shared', async () => {
    const stranger = script([...marked, ...keys, ['sys.tables t join', [{ mark: 'tenant id-2' }]]])
    await detachNamespace(stranger.query, scopeOf('prefix'), rights)
    const gone = script([...keys])
    await detachNamespace(gone.query, scopeOf('schema'), rights)
    const unshared = script([...marked, ...keys])
    await detachNamespace(unshared.query, scopeOf('prefix'), { ...rights, sharedTables: undefined })
    expect([...stranger.sent, ...gone.sent, ...unshared.sent]).toEqual([])
    const taken = script([...keys, ['sys.schemas s where', [{ mark: 'tenant id-2' }]]])
    await expect(detachNamespace(taken.query, scopeOf('schema'), rights)).rejects.toMatchObject({
      code: 'TENANCY_ERR_NAMESPACE_EXISTS',
    })
    expect(taken.sent).toEqual([])
  })

  it('tries again when somebody reads the table, and gives up on what it does not understand', async () => {
    const own = layoutOf(scopeOf('prefix'), schemas)
    const failing = (number: number, times: number) => {
      const { sent, query } = script(keys)
      let left = times
      const asked = (async (text: string, parameters?: readonly unknown[]) => {
        const answer = await query(text, parameters)
        if (text.startsWith('set lock_timeout') && left-- > 0) throw Object.assign(new Error('x'), { number })
        return answer
      }) as AdminConnection['query']
      return { sent, asked }
    }
    const busy = failing(1222, 1)
    await detachFromShared(busy.asked, own, shared)
    expect(busy.sent).toEqual([DROP, DROP])
    await expect(detachFromShared(failing(547, 1).asked, own, shared)).rejects.toMatchObject({ number: 547 })
  })
})

describe('the namespace of shared tables', () => {
  const made = () => {
    const { sent, query } = script([
      ['o.is_ms_shipped = 0', tables],
      ['sys.database_permissions', exact],
    ])
    const space = sharedNamespace(shared, { alone: (_scope, work) => work(query), servingUser: () => 'app' })
    return { sent, space }
  }

  it('is a schema of its own with a ledger, marked as such', async () => {
    const { sent, space } = made()
    await space.inNamespace(space.scope, async (session) => {
      expect(await session.ensure()).toBe(true)
      await session.run('create table x')
      await session.seal()
    })
    expect(sent.map((text) => text.split(' ').slice(0, 3).join(' '))).toEqual([
      'create schema [shared]',
      'exec sys.sp_addextendedproperty @name',
      'create table [shared].[__drizzle_migrations]',
      'exec sys.sp_addextendedproperty @name',
      'create table x',
    ])
    expect(sent[1]).toContain('["shared tables","shared"]')
  })

  it('is in reach of tenants in the same database, and its migrations name it', () => {
    const { space } = made()
    expect([...space.reach]).toEqual(['schema', 'rls', 'prefix'])
    expect(space.qualifier).toBe('shared')
    expect(space.parseDdl('CREATE TABLE [plans] ([id] int)').render(space.scope)).toBe(
      'CREATE TABLE [shared].[plans] ([id] int)',
    )
  })
})
