import { randomUUID } from 'node:crypto'
import pg from 'pg'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { SharedTables } from '../../src/contracts/shared-tables.ts'
import type { StrategyName } from '../../src/contracts/tenant.ts'
import type { IsolationStrategy, Scope } from '../../src/contracts/isolation.ts'
import { createPgServer } from '../../src/dialects/postgres/drivers/pg-server.ts'
import { rolesScript, type RolesScriptOptions } from '../../src/dialects/postgres/roles-script.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import type { LayoutOptions } from '../../src/dialects/postgres/layout.ts'
import { createTestDatabase, type TestDatabase } from '../servers/database.ts'

/** An empty database with the product's own baseline: serving role without any right, admin role that owns schemas. */
export async function baselineDatabase(
  superuserUrl: string,
  options: Pick<RolesScriptOptions, 'tenantRoles' | 'qualified'> = {},
): Promise<TestDatabase> {
  const database = await createTestDatabase(superuserUrl)
  await runRolesScript(database, options)
  return database
}

/** Runs the script of `fastify-tenancy roles`, which can be run again. */
export async function runRolesScript(
  database: TestDatabase,
  options: Pick<RolesScriptOptions, 'tenantRoles' | 'qualified' | 'extensionsSchema'> = {},
): Promise<void> {
  const { database: name, appRole, ownerRole } = database
  const script = rolesScript({ database: name, servingRole: appRole, adminRole: ownerRole, ...options })
  await asSuperuser(database, (client) => client.query(script))
}

/** Runs `work` as superuser in this database. */
export async function asSuperuser<T>({ superUrl }: TestDatabase, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: superUrl })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** Makes one of PostgreSQL's own extensions for everybody. @returns whether the server has it at all */
export async function makeExtension(database: TestDatabase, name: string): Promise<boolean> {
  return asSuperuser(database, async (client) => {
    const { rowCount } = await client.query('select from pg_available_extensions where name = $1', [name])
    if (rowCount === 0) return false
    await client.query(`create extension ${name} schema extensions`)
    return true
  })
}

/** A server on this database; `url` may lead through a pooler or proxy. */
export function testServer(
  database: TestDatabase,
  options: {
    url?: string
    poolSize?: number
    poolTimeout?: number
    /** In seconds. */
    poolRecycle?: number
    pooled?: boolean
    strategies?: readonly StrategyName[]
    shared?: LayoutOptions
    sharedTables?: SharedTables
    adminUrl?: string
    maxTenantConnections?: number
    tenantPoolSize?: number
    databaseTemplate?: string
  } = {},
): DatabaseServer {
  return createPgServer({
    url: options.url ?? database.appUrl,
    adminUrl: options.adminUrl ?? database.adminUrl,
    pooled: options.pooled ?? false,
    strategies: options.strategies ?? ['schema'],
    poolSize: options.poolSize ?? 5,
    maxOverflow: 0,
    poolTimeout: options.poolTimeout ?? 10,
    poolRecycle: options.poolRecycle ?? 3600,
    registrySchema: 'tenancy',
    maxTenantConnections: options.maxTenantConnections ?? 5,
    tenantPoolSize: options.tenantPoolSize ?? 5,
    ...(options.databaseTemplate !== undefined && { databaseTemplate: options.databaseTemplate }),
    shared: options.shared ?? sharedSchemas,
    sharedTables: options.sharedTables,
    onStatement: undefined,
  })
}

/** The schemas that tenants share, by their default names. */
export const sharedSchemas = {
  extensionsSchema: 'extensions',
  rlsSchema: 'rls',
  prefixSchema: 'prefixed',
  tenantColumn: 'tenant_id',
}

/** A guard that lets everything through. */
export const open = (): void => {}

/** The scope of a new tenant, as the product makes it. */
export function schemaScope(): Scope {
  return placedScope(namespaceStrategy('schema'))
}

/** The scope of a new tenant under this strategy, whose rows carry `rowKey`. */
export function placedScope(strategy: IsolationStrategy, rowKey?: string): Scope {
  const tenant = { id: randomUUID(), identifier: 'tenant', metadata: {}, rowKey }
  return strategy.scope({ id: tenant.id, placement: strategy.place(tenant) })
}

/** The same with a setting, as row-level security will need it: what holds for the path must hold for settings. */
export function newScope(): Scope {
  const scope = schemaScope()
  return { ...scope, settings: { 'app.current_tenant': scope.tenantId } }
}

/** A new tenant's namespace on `server`, with these statements run in it. */
export async function provisionScope(
  server: DatabaseServer,
  statements: readonly string[],
  scope = newScope(),
): Promise<Scope> {
  await server.inNamespace(scope, async (session) => {
    await session.ensure()
    for (const statement of statements) await session.run(statement)
  })
  return scope
}
