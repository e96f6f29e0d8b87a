import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { configReference, parseConfig, type TenancyConfig } from '../src/config.ts'
import { isTenancyError } from '../src/errors.ts'
import { defaultReservedIdentifiers } from '../src/util/identifier.ts'

const URL = 'postgres://app@db/saas'
const LONGEST = 2_147_483
const resolver = () => 'acme'

const encryptionKey = `k1:${Buffer.alloc(32, 1).toString('base64')}`
const kms = { id: 'k', wrap: async () => new Uint8Array(), unwrap: async () => new Uint8Array() }

type Environment = Record<string, string | undefined>

function parse(options: object, environment: Environment = {}): TenancyConfig {
  return parseConfig({ databaseUrl: URL, ...options }, environment)
}

function refusal(options: object, environment: Environment = {}): string {
  try {
    parseConfig(options, environment)
  } catch (error) {
    if (!isTenancyError(error, 'TENANCY_ERR_CONFIG_INVALID')) throw error
    expect(error.statusCode).toBe(500)
    return error.message
  }
  throw new Error('nothing was refused')
}

/** Option → default, then [in code, in the environment, what it becomes]. */
const scalars: Record<string, [fallback: unknown, ...[code: unknown, text: string, value: unknown][]]> = {
  resolutionStrategy: [
    ['header'],
    ['path', 'path', ['path']],
    [['path', 'header'], 'path, header', ['path', 'header']],
    [['path', 'header'], '["path","header"]', ['path', 'header']],
  ],
  resolutionMustAgree: [false, [false, 'off', false]],
  isolationStrategy: ['schema', ['schema', 'schema', 'schema'], ['hybrid', 'hybrid', 'hybrid']],
  l1CachePreload: [0, [100_000, '100000', 100_000]],
  changeChannel: ['auto', ['poll', 'poll', 'poll']],
  schemaScoping: ['search_path', ['qualified', 'qualified', 'qualified']],
  sqliteDriver: ['libsql', ['better-sqlite3', 'better-sqlite3', 'better-sqlite3']],
  tenantRoles: [false, [true, 'on', true], [false, 'off', false]],
  premiumIsolationStrategy: ['schema', ['database', 'database', 'database'], ['prefix', 'prefix', 'prefix']],
  standardIsolationStrategy: ['rls', ['prefix', 'prefix', 'prefix']],
  premiumTenants: [[], [['acme', 'globex'], 'acme,globex', ['acme', 'globex']]],
  premiumTiers: [['premium'], [['gold', 'Top tier'], 'gold, Top tier', ['gold', 'Top tier']]],
  tenantColumn: ['tenant_id', ['account_id', 'account_id', 'account_id']],
  rlsSchema: ['rls', ['_rls', '_rls', '_rls']],
  prefixSchema: ['prefixed', ['p2', 'p2', 'p2']],
  sharedTables: [[], [['plans', 'Plan types'], 'plans, Plan types', ['plans', 'Plan types']]],
  sharedWritable: [[], [['tags'], 'tags', ['tags']]],
  sharedMigrations: [undefined, ['./shared', './shared', './shared']],
  sharedSchema: [
    'shared',
    ['common', 'common', 'common'],
    [`t${'a'.repeat(24)}`, `t${'a'.repeat(24)}`, `t${'a'.repeat(24)}`],
  ],
  pooler: ['none', ['transaction', 'transaction', 'transaction']],
  databasePoolSize: [20, [1, '1', 1], [100, '100', 100]],
  databaseMaxOverflow: [0, [0, '0', 0], [200, '200', 200]],
  databasePoolTimeout: [30, [1, '1', 1], [LONGEST, `${LONGEST}`, LONGEST]],
  databasePoolRecycle: [3600, [60, '60', 60], [LONGEST, `${LONGEST}`, LONGEST]],
  databaseMaxTenantConnections: [20, [1, '1', 1], [1000, '1000', 1000]],
  databaseTenantPoolSize: [5, [1, '1', 1], [100, '100', 100]],
  databaseTemplate: ['template0', ['saas_template', 'saas_template', 'saas_template']],
  tenantFolder: [undefined, ['./tenants', './tenants', './tenants']],
  databaseEcho: [false, [true, 'Yes', true], [false, '0', false]],
  cacheEnabled: [false, [true, 'on', true], [false, 'no', false]],
  cacheTtl: [3600, [1, '1', 1], [LONGEST, `${LONGEST}`, LONGEST]],
  l1CacheMaxSize: [1000, [10, '10', 10], [100_000, '100000', 100_000]],
  l1CacheTtlSeconds: [60, [1, '1', 1], [LONGEST, `${LONGEST}`, LONGEST]],
  redisKeyPrefix: [
    'tenancy',
    ['app.1_a-B', 'app.1_a-B', 'app.1_a-B'],
    ['p'.repeat(64), 'p'.repeat(64), 'p'.repeat(64)],
  ],
  tenantHeaderName: ['X-Tenant-ID', ['x-org', 'x-org', 'x-org']],
  domainSuffix: [
    undefined,
    ['Example.com', 'Example.com', 'example.com'],
    ['localhost', 'localhost', 'localhost'],
    [`${'a'.repeat(63)}.io`, `${'a'.repeat(63)}.io`, `${'a'.repeat(63)}.io`],
  ],
  pathPrefix: ['/tenants', ['/t/v1.0/', '/t/v1.0/', '/t/v1.0'], ['/~a', '/~a', '/~a']],
  excludedPaths: [[], [['/health', '/docs'], '/health,/docs', ['/health', '/docs']], [[], '[]', []]],
  hook: ['onRequest', ['preValidation', 'preValidation', 'preValidation'], ['preHandler', 'preHandler', 'preHandler']],
  migrations: [undefined, ['./drizzle', './drizzle', './drizzle']],
  extensionsSchema: ['extensions', ['_ext', '_ext', '_ext'], ['e'.repeat(63), 'e'.repeat(63), 'e'.repeat(63)]],
  registrySchema: ['tenancy', ['registry_2', 'registry_2', 'registry_2']],
  enableEncryption: [false, [true, 'on', true]],
  encryptedPrefix: ['_enc_', ['secret.', 'secret.', 'secret.'], ['s'.repeat(32), 's'.repeat(32), 's'.repeat(32)]],
  allowPlaintext: [false, [true, '1', true]],
  reservedIdentifiers: [
    [...defaultReservedIdentifiers],
    [['vip', 'root'], 'vip,root', ['vip', 'root']],
    [[], '[]', []],
  ],
  maxTenants: [undefined, [1, '1', 1], [100_000_000, '100000000', 100_000_000]],
  defaultTenantStatus: ['active', ['suspended', 'suspended', 'suspended']],
  closeTimeoutSeconds: [10, [1, '1', 1], [LONGEST, `${LONGEST}`, LONGEST]],
}

/** Option → values refused in code, and texts refused in the environment. */
const refused: Record<string, [code: unknown[], texts: string[]]> = {
  resolutionStrategy: [
    ['jwt', [], ['path', 'path'], ['jwt'], 1],
    ['jwt', 'path,path', '[]', '["path"'],
  ],
  resolutionMustAgree: [['true', 1, null], ['maybe']],
  isolationStrategy: [['RLS', ''], ['row']],
  l1CachePreload: [[-1, 100_001, 1.5], ['many']],
  changeChannel: [['Listen', '', true], ['notify']],
  schemaScoping: [['Qualified', ''], ['path']],
  sqliteDriver: [['sqlite3', '', true], ['better']],
  tenantRoles: [['true', 1], ['perhaps']],
  premiumIsolationStrategy: [['hybrid', ''], ['hybrid']],
  standardIsolationStrategy: [['hybrid', ''], ['hybrid']],
  premiumTenants: [
    ['acme', ['Acme'], [''], ['ab']],
    ['Acme', 'a,b'],
  ],
  premiumTiers: [['premium', [''], [1]], ['["a"']],
  tenantColumn: [['', 'Tenant', 'a-b'], ['Tenant']],
  rlsSchema: [['', 'public', 'Rls'], ['public']],
  prefixSchema: [['', 'public', 'pg_x'], ['public']],
  sharedTables: [['plans', [''], [1]], ['["a"']],
  sharedWritable: [['tags', [''], [1]], ['["a"']],
  sharedMigrations: [['', 'a\0b', 1], []],
  sharedSchema: [['', 'public', 'Shared', `t${'a'.repeat(25)}`], ['public']],
  pooler: [['session', true], ['statement']],
  databasePoolSize: [
    [0, 101, 1.5, '20', Number.NaN, null],
    ['0', '101', '1.5', 'many'],
  ],
  databaseMaxOverflow: [
    [-1, 201],
    ['-1', '201'],
  ],
  databasePoolTimeout: [
    [0, LONGEST + 1, Number.POSITIVE_INFINITY],
    ['0', '30s'],
  ],
  databasePoolRecycle: [[59, LONGEST + 1], ['59']],
  databaseMaxTenantConnections: [
    [0, 1001, 1.5],
    ['0', '1001'],
  ],
  databaseTenantPoolSize: [
    [0, 101],
    ['0', '101'],
  ],
  databaseTemplate: [['', 'a\0b', 'é'.repeat(32), 1], ['é'.repeat(32)]],
  tenantFolder: [['', 'a\0b', 1], []],
  databaseEcho: [['yes', 0], ['2']],
  cacheEnabled: [['true', 1], ['perhaps']],
  cacheTtl: [[0, LONGEST + 1], ['0']],
  l1CacheMaxSize: [
    [9, 100_001],
    ['9', '100001'],
  ],
  l1CacheTtlSeconds: [[0, LONGEST + 1], ['0']],
  redisUrl: [['', 'http://cache', 'redis://', 'redis://cache:0', 'redis://a,b', 1], ['cache:6379']],
  redisKeyPrefix: [['', 'a:b', '{a}', 'a*', 'p'.repeat(65), 1], ['a b']],
  tenantHeaderName: [['', 'X Tenant', 'x:y', 'x\n', 'é'], ['X Tenant']],
  domainSuffix: [['', '.a.com', 'a.com.', 'a..com', 'a.com:80', '-a.com', 'a_b.com', '127.0.0.1', 'a.com\n'], ['a b']],
  pathPrefix: [['', '/', 't', '//t', '/t//', '/a/../b', '/.', '/a b', '/a?b', '/%41', '/t\n'], ['t']],
  excludedPaths: [
    ['/health', ['health'], [''], ['/a?b'], [1]],
    ['health', '/a,b', '[1]', '["/a"'],
  ],
  hook: [['onSend', 'onrequest'], ['onSend']],
  migrations: [['', 'a\0b', 1], []],
  extensionsSchema: [
    ['', 'public', 'pg_ext', 'Ext', 'a-b', '1a', 'e'.repeat(64), 'information_schema', 'e\n'],
    ['Ext'],
  ],
  registrySchema: [['', 'public', 'pg_temp', 'Tenancy', 'r'.repeat(64)], ['public']],
  reservedIdentifiers: [
    ['admin', ['Admin'], [''], ['a b'], ['ab']],
    ['Admin', 'a,b'],
  ],
  maxTenants: [
    [0, -1, 1.5, 100_000_001, '5', null],
    ['0', 'many'],
  ],
  defaultTenantStatus: [['provisioning', 'deleted'], ['deleted']],
  closeTimeoutSeconds: [[0, LONGEST + 1], ['0']],
  resolver: [['acme', {}], []],
  authorize: [[true], []],
  drizzle: [[{}], []],
  enableEncryption: [['true', 1], ['maybe']],
  encryptionKey: [['', 'k1', 'a passphrase of 32 characters or more', 1], ['k1:AAAA']],
  encryptionOldKeys: [
    [encryptionKey, ['k1'], [1]],
    ['k1:AAAA', '["k1"]', '["k1"'],
  ],
  encryptionPassphrase: [['', 'x'.repeat(31), '🔑'.repeat(16), 1], ['x'.repeat(31)]],
  encryptionKms: [[{}, null, () => {}, { ...kms, id: 'a.b' }, { ...kms, wrap: 1 }], []],
  encryptedPrefix: [['', '1x', 'a b', '__proto__'.repeat(4), null], ['a b']],
  allowPlaintext: [['true', 1], ['maybe']],
  chooseStrategy: [['rls', {}], []],
  chooseServer: [['eu', {}], []],
  servers: [
    ['eu', null, [], 1],
    ['eu', '[]', '{'],
  ],
  schema: [['./schema.js', null], []],
  tenantStore: [[() => {}, null], []],
  metadataSchema: [[{}, null, () => {}, { '~standard': { validate: true } }], []],
  databaseUrl: [
    [
      '',
      'oracle://db/saas',
      'postgres:',
      'postgres://',
      'postgres:///saas',
      'postgres+x://db',
      'pglite:',
      'pglite:/',
      1,
    ].concat(['pglite:memory://', 'pglite://data', 'postgres://a,b/saas', 'postgres://db:99999/x', 'db/saas'] as never),
    ['oracle://db/saas', 'saas'],
  ],
  adminDatabaseUrl: [['', 'pglite:memory', 'pglite:./data', 'oracle://db/saas', null], ['pglite:memory']],
}

/** What an option cannot be given without. */
const companions: Record<string, object> = {
  enableEncryption: { encryptionKey },
  allowPlaintext: { enableEncryption: true, encryptionKey },
  cacheEnabled: { redisUrl: 'redis://cache' },
  domainSuffix: {},
  sharedTables: { sharedMigrations: './shared' },
  sharedWritable: { sharedTables: ['tags'], sharedMigrations: './shared' },
  sharedMigrations: { sharedTables: ['tags'] },
}

function nameOf(option: string): string {
  const { variable } = configReference().find((row) => row.option === option) ?? {}
  return variable ?? ''
}

describe('every option', () => {
  const functions = ['resolver', 'authorize', 'drizzle', 'chooseStrategy', 'chooseServer']
  const code = [...functions, 'schema', 'tenantStore', 'encryptionKms', 'metadataSchema']
  const urls = ['databaseUrl', 'adminDatabaseUrl', 'redisUrl']
  /** The values of these have a test of their own: test/config-servers.test.ts, test/config-encryption.test.ts. */
  const elsewhere = ['servers', 'encryptionKey', 'encryptionOldKeys', 'encryptionPassphrase']

  test('is tested here', () => {
    const options = configReference().map(({ option }) => option)
    expect([...Object.keys(scalars), ...code, ...urls, ...elsewhere].sort()).toEqual([...options].sort())
    expect(Object.keys(refused).sort()).toEqual([...options].sort())
  })

  test.each(Object.entries(scalars))('%s comes from its default, the environment and the code', (option, cases) => {
    const [fallback, ...rest] = cases
    expect(parse({})[option as keyof TenancyConfig]).toEqual(fallback)
    const unset = parse({ [option]: undefined }, { [nameOf(option)]: ' ' })
    expect(unset[option as keyof TenancyConfig]).toEqual(fallback)
    const needed = companions[option] ?? { domainSuffix: 'example.com' }
    for (const [given, text, value] of rest) {
      expect(parse({ ...needed, [option]: given })).toHaveProperty([option], value)
      expect(parse(needed, { [nameOf(option)]: text })).toHaveProperty([option], value)
      const other = rest.find(([, one]) => one !== text)?.[1] ?? 'nonsense'
      expect(parse({ ...needed, [option]: given }, { [nameOf(option)]: other })).toHaveProperty([option], value)
    }
  })

  test.each(Object.entries(refused))('%s refuses what it cannot be', (option, [values, texts]) => {
    const lead = code.includes(option) ? `- ${option}: ` : `- ${option} (${nameOf(option)}): `
    for (const value of values) {
      const message = refusal({ databaseUrl: URL, [option]: value })
      expect(message, inspect(value)).toContain(`${lead}got `)
      expect(message).toMatch(/\. Use .+\.$/m)
    }
    const base = option === 'databaseUrl' ? {} : { databaseUrl: URL }
    for (const text of texts) expect(refusal(base, { [nameOf(option)]: text }), text).toContain(`${lead}got `)
  })

  test.each(code)('%s is given in code only', (option) => {
    const extra = {
      resolver: { resolutionStrategy: 'custom' },
      chooseStrategy: { isolationStrategy: 'hybrid' },
      chooseServer: { servers: { eu: { databaseUrl: 'postgres://app@eu/saas' } } },
      encryptionKms: { enableEncryption: true },
    }
    const objects: Record<string, object> = { encryptionKms: kms, metadataSchema: z.object({}) }
    const given = functions.includes(option) ? resolver : (objects[option] ?? {})
    expect(parse({ [option]: given, ...extra[option as keyof typeof extra] })).toHaveProperty([option], given)
    expect(parse({})).not.toHaveProperty([option])
    const variable = `TENANCY_${option.replace(/[A-Z]/g, '_$&').toUpperCase()}`
    expect(refusal({ databaseUrl: URL }, { [variable]: 'x' })).toContain(`- ${variable}: ${option} is no text.`)
  })
})

test('redisUrl comes from the environment and the code, and is not shown', () => {
  expect(parse({})).not.toHaveProperty(['redisUrl'])
  const [code, text] = ['rediss://u:hunter2@cache/1', 'redis+cluster://a:1,b:2']
  expect(parse({ redisUrl: code }, { TENANCY_REDIS_URL: text }).redisUrl?.reveal()).toBe(code)
  expect(parse({}, { TENANCY_REDIS_URL: text }).redisUrl?.reveal()).toBe(text)
  expect(inspect(parse({ redisUrl: code }))).not.toContain('hunter2')
  expect(refusal({ redisUrl: 'redis://:hunt/er2@cache' })).not.toContain('hunt')
})

describe('database URLs', () => {
  test.each([
    ['postgres://app@db/saas///', 'postgres://app@db/saas'],
    ['postgresql://app:a%40b@db:5432/saas?sslmode=require', 'postgresql://app:a%40b@db:5432/saas?sslmode=require'],
    ['postgres://app:pw@/saas?host=/run/postgresql', 'postgres://app:pw@/saas?host=/run/postgresql'],
    ['postgres:///saas?host=/run/postgresql', 'postgres:///saas?host=/run/postgresql'],
    ['postgres://127.0.0.1:5432', 'postgres://127.0.0.1:5432'],
    ['postgres://app:100%@db/saas', 'postgres://app:100%@db/saas'],
    ['pglite:memory', 'pglite:memory'],
    ['pglite:./data/', 'pglite:./data'],
    ['pglite:/var/data', 'pglite:/var/data'],
  ])('%s is accepted', (given, kept) => {
    expect(parse({ databaseUrl: given }).databaseUrl.reveal()).toBe(kept)
    const config = parseConfig({}, { TENANCY_DATABASE_URL: ` ${given}\n` })
    expect([config.databaseUrl.reveal(), config.adminDatabaseUrl.reveal()]).toEqual([kept, kept])
  })

  test.each(['12/34', '12?34', '12#34', 'a/b', 'a@/b'])(
    'a password %s with an unescaped character is refused',
    (password) => {
      expect(refusal({ databaseUrl: `postgres://app:${password}@db/saas` })).toContain('%2F')
    },
  )

  test.each([
    ['mssql://app:hunter2@db', 'it names no database: `mssql://…/database`'],
    ['mssql://app:hunter2@db/', 'it names no database: `mssql://…/database`'],
    ['mssql://app:hunter2@db/saas/hunter2', 'there is more than the name of a database behind its host'],
    ['mssql://app:hunter2@/saas', 'it names no host'],
    ['mssql://app:hunter2@db,1433/saas', 'its host has a `,`: a port comes behind `:`'],
    ['mssql://app:hunter2@db\\SQLEXPRESS/saas', 'its host has a `\\`: give a named instance by its port, `host:1433`'],
    [
      'sqlserver://db:1433;database=saas;user=app;password=hunter2',
      'it has a `;`: write `mssql://user:password@host:1433/database`',
    ],
    ['mssql://app:hunter2%@db/saas', 'a % in it is no escape of a character: write % itself as %25'],
    ['mysql://app:hunter2%ff@db/saas', 'a % in it is no escape of a character: write % itself as %25'],
    ['mysql://app:hunter2@/saas', 'it names no host'],
    ['mysql://app@db/saas?ssl={hunter2', 'its `ssl` begins like JSON and is none'],
    ['mssql://app:hunter2@db:99999/saas', 'its parts cannot be told apart'],
    ['mssql://app:hunter/2@db/saas', 'its parts cannot be told apart'],
    ['mssql://app:hunter2@db/saas#x', 'it has a `#`, which is %23 in a password'],
    ['mssql://app@db/saas?password=hunter2', 'it has a parameter other than `encrypt` and `trustServerCertificate`'],
    ['mssql://app:hunter2@db/saas?encrypt=yes', 'its `encrypt` is neither true nor false'],
    [
      'Server=tcp:db,1433;Database=saas;User Id=app;Password=hunter2',
      'it is a connection string: write `mssql://user:password@host:1433/database`',
    ],
    [
      'jdbc:sqlserver://db;password=hunter2',
      'it is a connection string: write `mssql://user:password@host:1433/database`',
    ],
    ['mysql://app:hunter2@db/saas?multipleStatements=true', 'it has a parameter other than `ssl` and `socketPath`'],
    ['mysql://app:hunter2@a,b/saas', 'it names several hosts'],
    ['postgres:///saas', 'it names no host'],
    ['postgres://app:hunter2%ff@db/saas', 'a % in it is no escape of a character: write % itself as %25'],
  ])('%s is refused for what is wrong with it, and none of it is shown', (given, fault) => {
    const options = [{ databaseUrl: given }, { adminDatabaseUrl: given }, { servers: { eu: { databaseUrl: given } } }]
    for (const wrong of options) {
      const message = refusal({ databaseUrl: 'mssql://app@db/saas', ...wrong })
      expect(message).toContain(`(not shown): ${fault}. Use \`postgres://…\`, `)
      for (const piece of ['hunter', 'SQLEXPRESS', '99999', 'multipleStatements']) expect(message).not.toContain(piece)
    }
  })

  test('a fragment is refused', () => {
    expect(refusal({ databaseUrl: `${URL}#x` })).toContain('%23')
  })

  test('adminDatabaseUrl has its own value, from code or the environment', () => {
    expect(parse({ adminDatabaseUrl: 'postgres://o@db/saas/' }).adminDatabaseUrl.reveal()).toBe('postgres://o@db/saas')
    const environment = { TENANCY_ADMIN_DATABASE_URL: 'postgres://e@db/saas' }
    expect(parse({}, environment).adminDatabaseUrl.reveal()).toBe('postgres://e@db/saas')
    expect(parse({ adminDatabaseUrl: URL }, environment).adminDatabaseUrl.reveal()).toBe(URL)
  })

  test.each(['development', 'test'])('in %s nothing configured is PGlite in memory', (NODE_ENV) => {
    const config = parseConfig({}, { NODE_ENV })
    expect(config.databaseUrl.reveal()).toBe('pglite:memory')
    expect(config.adminDatabaseUrl).toBe(config.databaseUrl)
    expect(parseConfig({ databaseUrl: URL }, { NODE_ENV }).databaseUrl.reveal()).toBe(URL)
  })

  test.each([undefined, '', 'production', 'staging', 'Test'])(
    'with NODE_ENV %s databaseUrl is required',
    (NODE_ENV) => {
      expect(refusal({}, { NODE_ENV })).toContain('- databaseUrl (TENANCY_DATABASE_URL): missing. Use `postgres://…`')
    },
  )

  test('PGlite never stands in for half a configuration', () => {
    const environment = { NODE_ENV: 'test' }
    expect(refusal({ adminDatabaseUrl: URL }, environment)).toContain('databaseUrl (TENANCY_DATABASE_URL): missing')
    expect(refusal({ databaseUrl: 'oracle://db/saas' }, environment)).toContain(
      'databaseUrl (TENANCY_DATABASE_URL): got',
    )
    expect(refusal({ adminDatabaseUrl: 'oracle://db/saas' }, environment)).toContain(
      'databaseUrl (TENANCY_DATABASE_URL): miss',
    )
  })
})
