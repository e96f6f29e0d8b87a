import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { configReference, parseConfig, type TenancyConfig, type TenancyOptions } from '../src/config.ts'
import { isTenancyError } from '../src/errors.ts'
import { createMemoryTenantStore } from '../src/tenants/memory-store.ts'

const URL = 'postgres://app@db/saas'
const PASSWORD = 'hunter2'
const resolver = () => 'acme'

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

function nameOf(option: string): string {
  const { variable } = configReference().find((row) => row.option === option) ?? {}
  return variable ?? ''
}

describe('rules between options', () => {
  test('resolutionMustAgree needs two resolvers', () => {
    const lead = '- resolutionMustAgree (TENANCY_RESOLUTION_MUST_AGREE): '
    expect(refusal({ databaseUrl: URL, resolutionMustAgree: true })).toContain(lead)
    expect(refusal({ databaseUrl: URL, resolutionMustAgree: true, resolutionStrategy: ['path'] })).toContain(lead)
    const agreed = parse({}, { TENANCY_RESOLUTION_MUST_AGREE: 'on', TENANCY_RESOLUTION_STRATEGY: 'header,path' })
    expect(agreed.resolutionMustAgree).toBe(true)
  })

  test('custom and resolver need each other', () => {
    expect(refusal({ databaseUrl: URL, resolutionStrategy: 'custom' })).toContain('- resolver: missing.')
    expect(refusal({ databaseUrl: URL, resolutionStrategy: ['path', 'custom'] })).toContain('- resolver: missing.')
    expect(refusal({ databaseUrl: URL, resolver })).toContain('- resolver: got a function that nothing would call.')
    expect(parse({ resolutionStrategy: ['path', 'custom'], resolver }).resolver).toBe(resolver)
  })

  test('subdomain needs domainSuffix', () => {
    const lead = '- domainSuffix (TENANCY_DOMAIN_SUFFIX): missing.'
    expect(refusal({ databaseUrl: URL, resolutionStrategy: ['header', 'subdomain'] })).toContain(lead)
    const config = parse({ resolutionStrategy: 'subdomain' }, { TENANCY_DOMAIN_SUFFIX: 'example.com' })
    expect(config.domainSuffix).toBe('example.com')
  })

  test('adminDatabaseUrl is not for PGlite', () => {
    const message = refusal({ databaseUrl: 'pglite:memory', adminDatabaseUrl: URL })
    expect(message).toContain('- adminDatabaseUrl (TENANCY_ADMIN_DATABASE_URL): given, but databaseUrl')
  })

  test('a file has no roles', () => {
    const file = { databaseUrl: 'file:./app.db' }
    const message = refusal({ ...file, adminDatabaseUrl: URL })
    expect(message).toContain('- adminDatabaseUrl (TENANCY_ADMIN_DATABASE_URL): given, but databaseUrl')
    expect(parse(file).databaseUrl.reveal()).toBe('file:./app.db')
    for (const databaseUrl of [':memory:', 'libsql://db.example.com', 'sqlite:app.db']) {
      expect(refusal({ databaseUrl })).toContain('`file:<path>` (SQLite)')
    }
  })

  test('[W2] the schemas differ', () => {
    const lead = '- registrySchema (TENANCY_REGISTRY_SCHEMA): got "extensions"'
    expect(refusal({ databaseUrl: URL, registrySchema: 'extensions' })).toContain(lead)
    expect(refusal({ databaseUrl: URL, extensionsSchema: 'tenancy' })).toContain('registrySchema')
    expect(refusal({ databaseUrl: URL, rlsSchema: 'prefixed' })).toContain('"prefixed" is the name of two schemas')
  })

  test('shared tables have migrations, and only they can be writable', () => {
    const tables = { databaseUrl: URL, sharedTables: ['plans'] }
    expect(refusal({ ...tables, sharedTables: [{}] as never })).toContain('got a list with objects in it')
    expect(refusal(tables)).toContain('- sharedTables (TENANCY_SHARED_TABLES): got ["plans"], but no migrations')
    expect(refusal({ databaseUrl: URL, sharedMigrations: './shared' })).toContain(
      '- sharedTables (TENANCY_SHARED_TABLES): miss',
    )
    expect(refusal({ ...tables, sharedMigrations: './shared', sharedWritable: ['tags'] })).toContain(
      '- sharedWritable (TENANCY_SHARED_WRITABLE): got "tags", which is not in sharedTables (TENANCY_SHARED_TABLES).',
    )
    expect(refusal({ databaseUrl: URL, sharedSchema: 'rls' })).toContain('"rls" is the name of two schemas')
  })

  test('roles of tenants are for the schema strategy on PostgreSQL', () => {
    const walled = { databaseUrl: URL, tenantRoles: true }
    expect(parse(walled).tenantRoles).toBe(true)
    expect(parse({ databaseUrl: 'pglite:memory', tenantRoles: true }).tenantRoles).toBe(true)
    for (const isolationStrategy of ['rls', 'database', 'prefix', 'hybrid']) {
      expect(refusal({ ...walled, isolationStrategy })).toContain(
        `- tenantRoles (TENANCY_TENANT_ROLES): got true, but isolationStrategy (TENANCY_ISOLATION_STRATEGY) is \`${isolationStrategy}\``,
      )
    }
    const shared = refusal({ ...walled, sharedTables: ['plans'], sharedMigrations: './shared' })
    expect(shared).toContain('- tenantRoles (TENANCY_TENANT_ROLES): got true with sharedTables')
    const elsewhere = refusal({ ...walled, databaseUrl: 'file:./app.db', tenantStore: {} })
    expect(elsewhere).toContain('- tenantRoles (TENANCY_TENANT_ROLES): got true, but databaseUrl')
  })

  test('changes need a channel that is there', () => {
    const redisUrl = 'redis://localhost'
    expect(parse({ databaseUrl: URL, changeChannel: 'listen' }).changeChannel).toBe('listen')
    expect(parse({ databaseUrl: 'file:./app.db', changeChannel: 'redis', redisUrl }).changeChannel).toBe('redis')
    const lead = '- changeChannel (TENANCY_CHANGE_CHANNEL): got'
    expect(refusal({ databaseUrl: URL, changeChannel: 'redis' })).toContain(
      `${lead} \`redis\`. Set redisUrl (TENANCY_REDIS_URL)`,
    )
    expect(refusal({ databaseUrl: URL, changeChannel: 'listen', tenantStore: {} })).toContain(
      `${lead} \`listen\`, but a store of your own`,
    )
    for (const databaseUrl of ['file:./app.db', 'mysql://a@b/c', 'pglite:memory']) {
      expect(refusal({ databaseUrl, changeChannel: 'listen' })).toContain(`${lead} \`listen\`, which needs a registry`)
    }
  })

  test('names are written out under the schema strategy on PostgreSQL, without a pooler and roles of tenants', () => {
    const written = { databaseUrl: URL, schemaScoping: 'qualified' }
    expect(parse(written).schemaScoping).toBe('qualified')
    expect(parse({ databaseUrl: 'pglite:memory', schemaScoping: 'qualified' }).schemaScoping).toBe('qualified')
    const lead = '- schemaScoping (TENANCY_SCHEMA_SCOPING): got `qualified`'
    for (const isolationStrategy of ['rls', 'database', 'prefix', 'hybrid']) {
      expect(refusal({ ...written, isolationStrategy })).toContain(`${lead}, but isolationStrategy`)
    }
    expect(refusal({ ...written, databaseUrl: 'file:./app.db', tenantStore: {} })).toContain(`${lead}, but databaseUrl`)
    expect(refusal({ ...written, tenantRoles: true })).toContain(`${lead}, which sends nothing with a statement`)
    expect(refusal({ ...written, pooler: 'transaction' })).toContain(`${lead}, but pooler (TENANCY_POOLER)`)
    const servers = { eu: { databaseUrl: 'postgres://a@eu/x', pooler: 'transaction' } }
    expect(refusal({ ...written, servers })).toContain(`${lead}, but that of the server "eu"`)
  })

  test('maxTenants is for the registry of ours', () => {
    const tenantStore = createMemoryTenantStore({ maxTenants: 5 })
    expect(refusal({ maxTenants: 5, tenantStore })).toContain(
      '- maxTenants (TENANCY_MAX_TENANTS): got 5, which a registry of your own does not know.',
    )
    expect(parse({ tenantStore }).tenantStore).toBe(tenantStore)
    expect(parse({ maxTenants: 5 }).maxTenants).toBe(5)
  })

  test('a shared cache needs a Redis, and a database that processes share', () => {
    const lead = '- cacheEnabled (TENANCY_CACHE_ENABLED): got true'
    expect(refusal({ databaseUrl: URL, cacheEnabled: true })).toContain(`${lead}. Set redisUrl (TENANCY_REDIS_URL)`)
    const enabled = { cacheEnabled: true, redisUrl: 'redis://cache' }
    expect(parse({ databaseUrl: URL, ...enabled }).cacheEnabled).toBe(true)
    for (const databaseUrl of ['pglite:memory', 'pglite:./data', 'file:./app.db']) {
      expect(refusal({ databaseUrl, ...enabled })).toContain(`${lead}, but databaseUrl (TENANCY_DATABASE_URL)`)
      expect(parse({ databaseUrl, redisUrl: 'redis://cache' }).cacheEnabled).toBe(false)
    }
  })

  test('a hybrid has two strategies', () => {
    const hybrid = { databaseUrl: URL, isolationStrategy: 'hybrid' }
    expect(refusal({ ...hybrid, premiumIsolationStrategy: 'rls' })).toContain('premiumIsolationStrategy')
    expect(refusal({ databaseUrl: URL, chooseStrategy: () => 'rls' })).toContain(
      '- chooseStrategy: got a function that',
    )
  })
})

describe('what is unknown', () => {
  test('an option is an error with a hint', () => {
    const message = refusal({ databaseURL: `postgres://a:${PASSWORD}@db/x`, databaseUrl: URL, colour: 'red' })
    expect(message).toContain('- databaseURL: unknown option. Did you mean databaseUrl?')
    expect(message).toContain('- colour: unknown option. Remove it.')
    expect(message).not.toContain(PASSWORD)
    const named = refusal({ databaseUrl: URL, [`postgres://a:${PASSWORD}@db/x`]: true })
    expect(named).toContain('- a URL (not shown): unknown option. Remove it.')
    expect(named).not.toContain(PASSWORD)
    expect(refusal(JSON.parse(`{ "databaseUrl": "${URL}", "__proto__": 1, "constructor": 2 }`))).toMatch(
      /constructor: unk/,
    )
  })

  test('a variable is an error with a hint, TENANCY_TEST_ and blank ones excepted', () => {
    const message = refusal({ databaseUrl: URL }, { TENANCY_DATABSE_URL: PASSWORD, TENANCY_SERVICE_HOST: '10.0.0.1' })
    expect(message).toContain('- TENANCY_DATABSE_URL: unknown variable. Did you mean TENANCY_DATABASE_URL?')
    expect(message).toContain('- TENANCY_SERVICE_HOST: unknown variable. Remove it.')
    expect(message).not.toContain(PASSWORD)
    expect(parse({}, { TENANCY_TEST_X: '1', TENANCY_X: '', PATH: '/bin' }).hook).toBe('onRequest')
    expect(refusal({ databaseUrl: URL }, { tenancy_hook: 'preHandler' })).toContain('Did you mean TENANCY_HOOK?')
  })

  test('an option nobody owns is not read from a prototype', () => {
    const inherited = Object.create({ hook: 'preHandler' }) as TenancyOptions
    expect(parseConfig(Object.assign(inherited, { databaseUrl: URL }), {}).hook).toBe('onRequest')
  })
})

test.each(['postgress://app@db/saas', 'localhost:5432/saas', `"${URL}"`])(
  'what begins like no URL of a database is told so: %s',
  (url) => {
    expect(refusal({ databaseUrl: url })).toContain(': it begins like none of these. Use `postgres://…`')
  },
)

test('all problems are told at once', () => {
  const message = refusal(
    { resolutionStrategy: ['subdomain', 'custom'], databasePoolSize: 0, colour: 1, registrySchema: 'extensions' },
    { TENANCY_HOOK: 'onSend', TENANCY_COLOUR: 'red', TENANCY_DATABASE_ECHO: 'perhaps' },
  )
  expect(message.split('\n')).toEqual([
    'The tenancy configuration is invalid:',
    '- colour: unknown option. Remove it.',
    '- TENANCY_COLOUR: unknown variable. Remove it.',
    '- databasePoolSize (TENANCY_DATABASE_POOL_SIZE): got 0. Use a whole number from 1 to 100.',
    '- databaseEcho (TENANCY_DATABASE_ECHO): got "perhaps". Use true or false.',
    '- hook (TENANCY_HOOK): got "onSend". Use `onRequest`, `preValidation`, `preHandler`.',
    expect.stringMatching(/^- resolver: missing\./),
    expect.stringMatching(/^- domainSuffix \(TENANCY_DOMAIN_SUFFIX\): missing\./),
    expect.stringMatching(/^- databaseUrl \(TENANCY_DATABASE_URL\): missing\./),
    expect.stringMatching(/^- registrySchema \(TENANCY_REGISTRY_SCHEMA\): got "extensions"/),
  ])
})

test('the result is frozen and shares nothing with what was given', () => {
  const excludedPaths = ['/health']
  const options = { databaseUrl: URL, excludedPaths, resolutionStrategy: ['path', 'header'] as const }
  const config = parseConfig(options, {})
  excludedPaths.push('/')
  expect(config.excludedPaths).toEqual(['/health'])
  for (const part of [config, config.excludedPaths, config.resolutionStrategy, config.reservedIdentifiers]) {
    expect(Object.isFrozen(part)).toBe(true)
  }
  expect(Object.isFrozen(options)).toBe(false)
  expect(Object.isFrozen(parseConfig({ databaseUrl: URL }, {}).excludedPaths)).toBe(true)
})

describe('[W47] no secret is printed', () => {
  test.each([
    `postgres://app:${PASSWORD}@db/saas`,
    `postgres://:${PASSWORD}@db/saas`,
    `postgres://app@db/saas?password=${PASSWORD}`,
    `postgres://app:${PASSWORD}@/saas?host=/run`,
  ])('by the configuration of %s', (url) => {
    const config = parse({ databaseUrl: url, adminDatabaseUrl: url })
    const print = [
      inspect(config, { depth: null, showHidden: true, customInspect: false }),
      inspect(config),
      JSON.stringify(config),
      // oxlint-disable-next-line typescript/restrict-template-expressions -- the mistake under test
      `template ${config.databaseUrl}`,
      JSON.stringify({ ...config }),
      config.databaseUrl.describe(),
      config.adminDatabaseUrl.describe(),
    ].join('\n')
    expect(print).not.toContain(PASSWORD)
    expect(JSON.parse(JSON.stringify(config))).toMatchObject({
      databaseUrl: '[redacted]',
      adminDatabaseUrl: '[redacted]',
    })
    expect(config.databaseUrl.reveal()).toBe(url)
  })

  test.each([
    PASSWORD,
    `${PASSWORD}://x`,
    `oracle://app:${PASSWORD}@db/saas`,
    `redis://:${PASSWORD}@cache`,
    `postgres://app:1/${PASSWORD}@db/saas`,
    `postgres://app:${PASSWORD}@a,b/saas`,
    `postgres://app:${PASSWORD}@db/saas#`.concat('x'),
    `pglite://${PASSWORD}`,
  ])('by the refusal of %s, wherever it was put', (url) => {
    for (const option of ['databaseUrl', 'adminDatabaseUrl']) {
      const variable = nameOf(option)
      const thrown = [refusal({ [option]: url }), refusal({}, { [variable]: url })]
      expect(thrown.join('\n')).not.toContain(PASSWORD)
    }
  })

  test('by the refusal of another option that was given a URL', () => {
    const url = `postgres://app:${PASSWORD}@db/saas`
    for (const { option, variable } of configReference()) {
      if (option === 'migrations') continue
      const given = [
        refusal({ databaseUrl: `${URL}#`.concat('x'), [option]: option.endsWith('Url') ? `${url}#x` : url }),
      ]
      if (variable !== undefined) given.push(refusal({ databaseUrl: 1 }, { [variable]: `${url}#x` }))
      expect(given.join('\n'), option).not.toContain(PASSWORD)
    }
    expect(refusal({ databaseUrl: URL, excludedPaths: [url] })).toContain('got a URL (not shown)')
  })

  test('by anything an error carries', () => {
    let thrown: unknown
    try {
      parseConfig({ databaseUrl: `oracle://app:${PASSWORD}@db/saas` }, {})
    } catch (error) {
      thrown = error
    }
    expect(inspect(thrown, { depth: null, showHidden: true })).not.toContain(PASSWORD)
    expect((thrown as Error).cause).toBeUndefined()
  })
})

describe('[W71] where settings come from', () => {
  const before = process.cwd()
  afterEach(() => {
    vi.unstubAllEnvs()
    process.chdir(before)
  })

  test('a .env file is not read', () => {
    const folder = mkdtempSync(join(tmpdir(), 'tenancy-env-'))
    writeFileSync(join(folder, '.env'), 'TENANCY_HOOK=preHandler\n')
    process.chdir(folder)
    expect(parseConfig({ databaseUrl: URL }).hook).toBe('onRequest')
  })

  test('process.env is read when called, and only when no environment is given', () => {
    vi.stubEnv('TENANCY_HOOK', 'preHandler')
    expect(parseConfig({ databaseUrl: URL }).hook).toBe('preHandler')
    expect(parseConfig({ databaseUrl: URL }, {}).hook).toBe('onRequest')
    vi.stubEnv('TENANCY_HOOK', 'preValidation')
    expect(parseConfig({ databaseUrl: URL }).hook).toBe('preValidation')
    vi.stubEnv('NODE_ENV', 'test')
    expect(refusal({}, {})).toContain('databaseUrl')
  })
})
