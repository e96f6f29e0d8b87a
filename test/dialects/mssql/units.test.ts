import { describe, expect, it } from 'vitest'
import type { Scope } from '../../../src/contracts/isolation.ts'
import type { StrategyName } from '../../../src/contracts/tenant.ts'
import { createMssqlServer } from '../../../src/dialects/mssql/drivers/mssql-server.ts'
import { parseMssqlUrl } from '../../../src/dialects/mssql/drivers/mssql-url.ts'
import { assertName, scoped, statementOf } from '../../../src/dialects/mssql/drivers/mssql-statement.ts'
import { breaksConnection, checkoutFailure, isPoisoned, statementFailure } from '../../../src/dialects/mssql/failure.ts'
import { layoutOf } from '../../../src/dialects/mssql/layout.ts'
import { createDdlParser } from '../../../src/dialects/mssql/parse-ddl.ts'
import { mssqlProfile } from '../../../src/dialects/mssql/profile.ts'
import { scopedBatch } from '../../../src/dialects/mssql/scope-batch.ts'
import { tenancyError } from '../../../src/errors.ts'
import { createTextScoper } from '../../../src/sql/scoped-text.ts'

const shared = { rlsSchema: 'rls', prefixSchema: 'prefixed', tenantColumn: 'tenant_id' }
const namespace = `t${'1'.repeat(25)}`
const scope = (strategy: StrategyName): Scope => ({ tenantId: 'id', server: 'main', namespace, strategy, settings: {} })

describe('the names of a tenant', () => {
  const text = createTextScoper(mssqlProfile)
  const expected: Record<StrategyName, string> = {
    schema: `[${namespace}].[orders]`,
    database: `[${namespace}].[dbo].[orders]`,
    prefix: `[prefixed].[${namespace}__orders]`,
    rls: '[rls].[orders]',
  }
  it.each(Object.entries(expected))('in statements, under %s', (strategy, name) => {
    const { naming } = layoutOf(scope(strategy as StrategyName), shared)
    expect(
      text(naming)('select [__tenant__].[orders].[id] from "__tenant__"."orders" where [x] = N\'[__tenant__].[y]\''),
    ).toBe(`select ${name}.[id] from ${name} where [x] = N'[__tenant__].[y]'`)
  })

  it('[W10] only under a row key that no collation and no length can take for another one', () => {
    const keyed = (key: string) => ({ ...scope('rls'), settings: { 'app.current_tenant': key } })
    const id = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee01'
    expect(layoutOf(keyed(id), shared).schema).toBe('rls')
    for (const key of ['', '42', 'acme', 'Acme', id.toUpperCase(), `${id}x`, `{${id}}`, `${id}\n`]) {
      expect(() => layoutOf(keyed(key), shared)).toThrow(
        expect.objectContaining({ code: 'TENANCY_ERR_TENANT_INVALID' }),
      )
    }
  })

  it('in DDL, which is run inside of the database', () => {
    const parse = createDdlParser(shared)
    const { render } = parse('CREATE VIEW [v] AS select [a].[x] from [a]')
    expect(render(scope('database'))).toBe('CREATE VIEW [dbo].[v] AS select [a].[x] from [dbo].[a]')
    expect(render(scope('rls'))).toBe('CREATE VIEW [rls].[v] AS select [a].[x] from [rls].[a]')
    expect(render(scope('prefix'))).toBe(
      `CREATE VIEW [prefixed].[${namespace}__v] AS select [${namespace}__a].[x] from [prefixed].[${namespace}__a]`,
    )
  })

  it.each([
    'CREATE TABLE [a] ([x] int)\nGO',
    'GO\nDROP TABLE [a]',
    'DROP TABLE [a]\n  go 5\r\nDROP TABLE [b]',
    'CREATE TABLE [#a] ([x] int)',
  ])('refuses %j', (statement) => {
    expect(() => createDdlParser(shared)(statement)).toThrow(/GO is a word|temporary table/)
  })

  it('knows a column that is called go', () => {
    expect(() => createDdlParser(shared)('CREATE TABLE [a] (go int)')).not.toThrow()
  })

  it('quotes whatever a name is, and refuses NUL', () => {
    expect(mssqlProfile.quoteName('x]; drop table [y')).toBe('[x]]; drop table [y]')
    expect(() => mssqlProfile.quoteName('a\0')).toThrow(/NUL/)
  })
})

describe('the batch of a statement', () => {
  it('sets the tenant, sees that it is set, and only then goes on, all on the first line', () => {
    const batch = scopedBatch('select 1\nselect 2')
    expect(batch).toBe(
      `begin try exec sys.sp_set_session_context @key = N'app.current_tenant', @value = @tenancy_tenant; end try begin catch end catch; ` +
        `if isnull(cast(session_context(N'app.current_tenant') as nvarchar(36)), N'') <> isnull(@tenancy_tenant, N'') ` +
        `begin; throw 51931, N'fastify-tenancy: the session has another tenant', 1; end; select 1\nselect 2`,
    )
  })

  it('carries the tenant as a parameter, before those of the statement', () => {
    const statement = statementOf('select @p0', [7])
    const made = scoped(statement, { value: 'id', type: 'nvarchar' })
    expect(made.text).toBe(scopedBatch('select @p0'))
    expect(made.parameters).toEqual([
      { name: 'tenancy_tenant', value: 'id', type: 'nvarchar' },
      { name: 'p0', value: 7 },
    ])
    expect(scoped(statement, { value: null, type: 'nvarchar' }).parameters[0]).toMatchObject({ value: null })
    expect(scoped(statement, undefined)).toBe(statement)
  })

  it.each(['tenancy_tenant', 'TENANCY_x', 'a b', "a'", '@a', '', '1', 'a]', 7, undefined, 'x'.repeat(200)])(
    'takes no parameter that is called %j',
    (name) => {
      expect(() => assertName(name)).toThrow(/TENANCY_ERR_STATEMENT_REFUSED|parameter by that name/)
    },
  )

  it('takes those of Drizzle', () => {
    expect(() => assertName('par0')).not.toThrow()
  })
})

it('reads URLs, and takes no option of the driver from them', () => {
  expect(
    parseMssqlUrl('mssql://app:p%40ss%25@db:1444/saas?encrypt=true&trustServerCertificate=true&database=x'),
  ).toEqual({
    server: 'db',
    port: 1444,
    user: 'app',
    password: 'p@ss%',
    database: 'saas',
    encrypt: true,
    trustServerCertificate: true,
  })
  expect(parseMssqlUrl('sqlserver://a@[::1]/b%20c?encrypt=false')).toMatchObject({
    server: '::1',
    port: 1433,
    password: '',
    database: 'b c',
    encrypt: false,
    trustServerCertificate: false,
  })
})

describe('errors', () => {
  const server = (number: number, more: object = {}) =>
    Object.assign(new Error('x'), { code: 'EREQUEST', number, class: 16, ...more })
  const driver = (code: string) => Object.assign(new Error('x'), { code })
  const unavailable = { code: 'TENANCY_ERR_DATABASE_UNAVAILABLE', statusCode: 503 }

  it('of a database that is gone are 503, and end the connection', () => {
    for (const error of [
      server(40613),
      server(596, { class: 21 }),
      server(99999, { class: 20 }),
      driver('ESOCKET'),
      driver('ECLOSE'),
      driver('ECONNRESET'),
      Object.assign(new Error('x'), { originalError: driver('ESOCKET') }),
      // As mssql tells that the socket closed under a statement.
      Object.assign(driver('EREQUEST'), { originalError: Object.assign(new Error('x'), { info: driver('ESOCKET') }) }),
      server(2627, { precedingErrors: [server(596, { class: 21 })] }),
    ]) {
      expect(breaksConnection(error)).toBe(true)
      expect(statementFailure(error)).toMatchObject(unavailable)
    }
  })

  it('of SQL are the user’s, and leave the connection as it is', () => {
    for (const error of [server(2627), server(547), server(1205, { class: 13 }), server(208), server(50000)]) {
      expect(breaksConnection(error)).toBe(false)
      expect(statementFailure(error)).toBe(error)
    }
  })

  it('of a session that keeps another tenant end the connection and say nothing of it', () => {
    const named = Object.assign(new Error("Cannot set key 'app.current_tenant' in the session context."), { number: 7 })
    for (const error of [server(51931), server(15664), named, server(208, { precedingErrors: [server(15664)] })]) {
      expect(isPoisoned(error)).toBe(true)
      expect(breaksConnection(error)).toBe(true)
      expect(statementFailure(error)).toMatchObject(unavailable)
    }
  })

  it('of the driver itself end the connection: nobody knows what comes next on it', () => {
    for (const error of [driver('ECANCEL'), new TypeError('x'), server(3971)]) {
      expect(breaksConnection(error)).toBe(true)
      expect(statementFailure(error)).toBe(error)
    }
    expect(statementFailure('text')).toBe('text')
  })

  it('of ours stay ours', () => {
    const own = tenancyError('TENANCY_ERR_CLOSED')
    expect(breaksConnection(own)).toBe(false)
    expect(statementFailure(own)).toBe(own)
    expect(checkoutFailure(own, 1)).toBe(own)
  })

  it('of a checkout are 503', () => {
    const late = new Error('operation timed out for an unknown reason')
    const wordy = new Error(`Failed to acquire a connection from the pool: ${late.message}`)
    for (const error of [late, wordy]) {
      expect(checkoutFailure(error, 10)).toMatchObject({ code: 'TENANCY_ERR_POOL_TIMEOUT', statusCode: 503 })
    }
    expect(checkoutFailure(driver('ELOGIN'), 10)).toMatchObject(unavailable)
  })
})

it('[W52] nobody is told that tenants are kept apart before anybody could look', async () => {
  const url = 'mssql://app:secret@localhost/saas'
  const options = {
    url,
    adminUrl: url,
    poolSize: 1,
    maxOverflow: 0,
    poolTimeout: 1,
    poolRecycle: 60,
    onStatement: undefined,
    registrySchema: 'tenancy',
  }
  const server = createMssqlServer({ ...options, strategies: ['schema'], shared })
  await expect(server.verify(scope('schema'))).rejects.toMatchObject({ code: 'TENANCY_ERR_NOT_STARTED' })
  await expect(server.inspect()).rejects.toMatchObject({ code: 'TENANCY_ERR_NOT_STARTED' })
})
