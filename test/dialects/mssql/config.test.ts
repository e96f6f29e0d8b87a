import { describe, expect, it } from 'vitest'
import type { TenantStore } from '../../../src/contracts/store.ts'
import { parseConfig } from '../../../src/config.ts'
import { configuredStore } from '../../../src/registry.ts'
import { configuredServers } from '../../../src/servers.ts'
import { adoptSharedTables } from '../../../src/shared-tables.ts'
import { secret } from '../../../src/util/secret.ts'
import { createMssqlServer } from '../../../src/dialects/mssql/drivers/mssql-server.ts'

const tenantStore = {} as TenantStore
const url = secret('mssql://app@db/saas')
const problemOf = (options: Parameters<typeof parseConfig>[0]) => {
  try {
    parseConfig(options, {})
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

describe('databaseUrl', () => {
  it.each(['mssql://app:p%40ss@db:1433/saas', 'sqlserver://app@db/saas?encrypt=true&trustServerCertificate=false'])(
    'takes %s',
    (databaseUrl) => {
      expect(problemOf({ databaseUrl, tenantStore })).toBeUndefined()
    },
  )

  it.each([
    'mssql://app@db',
    'mssql://app@db/',
    'mssql://app@db/a/b',
    'mssql:///saas',
    'mssql://app:p%zz@db/saas',
    'mssql://app@db/saas#x',
    'mssql://app@one,two/saas',
    'mssql://app@db/saas?encrypt=yes',
    'mssql://app@db/saas?options=x',
  ])('does not take %s', (databaseUrl) => {
    expect(problemOf({ databaseUrl, tenantStore })).toContain(
      'databaseUrl (TENANCY_DATABASE_URL): got a URL (not shown)',
    )
  })

  it('wants an admin login on the same kind of server', () => {
    const databaseUrl = 'mssql://app@db/saas'
    const withAdmin = (adminDatabaseUrl: string) => problemOf({ databaseUrl, tenantStore, adminDatabaseUrl })
    expect(withAdmin('mysql://a@b/c')).toContain('another kind of database')
    expect(withAdmin('sqlserver://a@b/saas')).toBeUndefined()
  })
})

describe('the registry', () => {
  const registryOf = (store: TenantStore | undefined, registrySchema = 'tenancy') =>
    configuredStore({ tenantStore: store, registrySchema, databaseUrl: url, adminDatabaseUrl: url }, unopened())

  it('is a schema there, unless you give your own', async () => {
    expect(problemOf({ databaseUrl: 'mssql://app@db/saas' })).toBeUndefined()
    expect(registryOf(tenantStore)).toBe(tenantStore)
    await expect(registryOf(undefined).count()).rejects.toMatchObject({ code: 'TENANCY_ERR_NOT_STARTED' })
  })

  it('is no schema of the server', () => {
    expect(() => registryOf(undefined, 'dbo')).toThrow('- registrySchema: "dbo" is a schema of the server itself')
  })
})

it('shares tables among tenants in one database, and says so to those who have their own', () => {
  const options = {
    databaseUrl: 'mssql://app@db/saas',
    tenantStore,
    sharedTables: ['plans'],
    sharedMigrations: './drizzle-shared',
    schema: {},
  }
  const serverOf = (isolationStrategy: 'schema' | 'database') => {
    const config = parseConfig({ ...options, isolationStrategy }, {})
    const server = configuredServers(config, { onStatement: undefined, warn() {} })
    return { config, server }
  }
  expect(serverOf('schema').server.shared).toMatchObject({ qualifier: 'shared' })
  const { config, server } = serverOf('database')
  expect(() => adoptSharedTables(config, server, { needs: ['database'] })).toThrow('`database` cannot reach')
})

it('with drizzle-orm 0.45, which has no SQL Server, the start says what to install', async () => {
  const server = unopened()
  await expect(server.open()).rejects.toMatchObject({
    code: 'TENANCY_ERR_PEER_MISSING',
    message: expect.stringContaining('npm install drizzle-orm@1.0.0-rc.5') as string,
  })
})

function unopened() {
  return createMssqlServer({
    url: 'mssql://app@127.0.0.1:1/saas',
    adminUrl: 'mssql://owner@127.0.0.1:1/saas',
    poolSize: 1,
    maxOverflow: 0,
    poolTimeout: 1,
    poolRecycle: 60,
    strategies: ['schema'],
    registrySchema: 'tenancy',
    shared: { rlsSchema: 'rls', prefixSchema: 'prefixed', tenantColumn: 'tenant_id' },
    onStatement: undefined,
  })
}
