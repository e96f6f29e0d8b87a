import { and, eq } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { integer, pgSchema, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { Client, Pool } from 'pg'
import type { Scope } from '../../src/contracts/isolation.ts'
import type { StrategyName } from '../../src/contracts/tenant.ts'
import { layoutOf } from '../../src/dialects/postgres/layout.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import type { PgVariant } from '../matrix/postgres-cells.ts'
import { withPort } from '../servers/database.ts'
import { open, placedScope, sharedSchemas } from '../support/database.ts'
import type { DatabaseHost } from '../support/tenant-databases.ts'
import type { Bar } from './harness.ts'
import type { BenchCell } from './isolation-cell.ts'
import { at, ROWS } from './notes.ts'
import { createPgServer } from './product.ts'

const columns = () => ({ tenantId: uuid('tenant_id'), id: integer('id').notNull(), body: text('body').notNull() })

/** What every tenant has, and all share under row policies. */
export const notes = pgTable('notes', columns())
export const marks = pgTable('marks', markColumns())

/** The same in a schema that is named. */
export const tablesIn = (schema: string, prefix = '') => ({
  notes: pgSchema(schema).table(`${prefix}notes`, columns()),
  marks: pgSchema(schema).table(`${prefix}marks`, markColumns()),
})

const statements = [
  'CREATE TABLE "notes" ("tenant_id" uuid, "id" integer NOT NULL, "body" text NOT NULL)',
  'CREATE UNIQUE INDEX "notes_key" ON "notes" USING btree ("tenant_id", "id")',
  'CREATE TABLE "marks" ("tenant_id" uuid, "id" integer NOT NULL, "note_id" integer NOT NULL)',
  'CREATE UNIQUE INDEX "marks_key" ON "marks" USING btree ("tenant_id", "id")',
]
/** Where a tenant's rows are in tables of its own, `id` alone is the key. */
const idIndex = 'CREATE INDEX "notes_id" ON "notes" USING btree ("id")'
const migration = (list: readonly string[]) => [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements: list }]

/** The tables and the index that a row is read by. */
export const migrationsOf = (kind: StrategyName) => migration(kind === 'rls' ? statements : [...statements, idIndex])

/** Connections of each pool: statements come one after the other. */
const POOL = 4
/** A database takes longer to make than a schema, and has connections of its own. */
const MOST_DATABASES = 8

export const pgStrategies = [
  namespaceStrategy('schema'),
  rlsStrategy(),
  namespaceStrategy('prefix'),
  namespaceStrategy('database'),
]

/** An option of the schema strategy that changes what a statement costs; it needs rights of its own. */
export interface PgOption {
  readonly name: string
  readonly options: PgVariant['options']
  readonly bar: Bar
}

export const pgOptions: readonly PgOption[] = [
  { name: 'schema, tenantRoles', options: { tenantRoles: true }, bar: { most: 1.3 } },
  { name: 'schema, qualified', options: { schemaScoping: 'qualified' }, bar: { most: 1.06 } },
]

/** The product's server on this host. */
export async function pgServer(
  { appUrl, adminUrl, template }: DatabaseHost,
  port?: number,
  options: PgVariant['options'] = {},
) {
  const server = createPgServer({
    url: port === undefined ? appUrl : withPort(appUrl, port),
    adminUrl,
    pooled: false,
    strategies: isEmpty(options) ? ['schema', 'rls', 'prefix', 'database'] : ['schema'],
    poolSize: POOL,
    maxOverflow: 0,
    poolTimeout: 60,
    poolRecycle: 3600,
    maxTenantConnections: 2 * MOST_DATABASES,
    tenantPoolSize: 2,
    databaseTemplate: template,
    registrySchema: 'tenancy',
    shared: { ...sharedSchemas, ...options },
    onStatement: undefined,
  })
  await server.open()
  return server
}

/** Makes that many tenants of one strategy and their rows. */
export async function pgCell(
  host: DatabaseHost,
  strategy: (typeof pgStrategies)[number],
  tenants: number,
  { name = strategy.name, options = {}, bar = { most: 1.15 } }: Partial<PgOption> = {},
): Promise<BenchCell> {
  const kind = strategy.name as StrategyName
  const scopes: Scope[] = []
  const server = await pgServer(host, undefined, options)
  for (let i = 0; i < (kind === 'database' ? Math.min(tenants, MOST_DATABASES) : tenants); i++) {
    const scope = placedScope(strategy)
    await migrateNamespace({ server, scope, migrations: migrationsOf(kind) })
    scopes.push(scope)
  }
  await server.close()
  await fill(host, kind, scopes)
  const names = scopes.map((scope) => placeOf(scope, kind))
  const tables = names.map(({ schema, prefix }) => tablesIn(schema, prefix).notes)

  return {
    name: `${name} on PostgreSQL`,
    bar,
    tenants: scopes.map(({ tenantId }) => tenantId),
    port: Number(new URL(host.appUrl).port),
    async connect(port) {
      const tenancy = await pgServer(host, port, options)
      // With roles of tenants the serving role itself reads nothing.
      const plainUrl = options.tenantRoles === true ? host.adminUrl : host.appUrl
      // One pool for all, or one for each database.
      const urls = kind === 'database' ? scopes.map(({ namespace }) => host.urlOf(namespace, 'app')) : [plainUrl]
      const pools = urls.map(
        (url) => new Pool({ connectionString: url, max: POOL, min: kind === 'database' ? 1 : POOL }),
      )
      const plain = pools.map((client) => drizzle({ client }))
      const scoped = scopes.map((scope) => drizzle({ client: tenancy.client(scope, open) as never }))
      return {
        plain: (tenant, id) => {
          const table = at(tables, tenant)
          const own =
            kind === 'rls' ? and(eq(table.tenantId, at(scopes, tenant).tenantId), eq(table.id, id)) : eq(table.id, id)
          return at(plain, kind === 'database' ? tenant : 0)
            .select()
            .from(table)
            .where(own)
        },
        scoped: (tenant, id) => at(scoped, tenant).select().from(notes).where(eq(notes.id, id)),
        close: () => Promise.all([tenancy.close(), ...pools.map((pool) => pool.end())]),
      }
    },
  }
}

/** What was just made is written out, and nothing tidies it up: else the server does so beside what is measured first. */
export async function quiet({ superUrl }: DatabaseHost): Promise<void> {
  const client = new Client({ connectionString: superUrl })
  await client.connect()
  for (const text of ['alter system set autovacuum = off', 'select pg_reload_conf()', 'checkpoint']) {
    await client.query(text)
  }
  await client.end()
}

/** Where an app without tenancy finds the table: under row policies, a copy without them. */
export function placeOf(scope: Scope, kind: StrategyName) {
  if (kind === 'rls') return { schema: 'bare', prefix: '' }
  const { schema, naming } = layoutOf(scope, sharedSchemas)
  return { schema, prefix: naming.prefix }
}

/** Fills the table of a tenant, or another one like it; each row names its owner. */
export function fillOf(scope: Scope, table = tableOf(scope)): string {
  const { tenantId } = scope
  return `insert into ${table} select '${tenantId}', n, '${tenantId}' from generate_series(1, ${ROWS}) n; analyze ${table}`
}

function tableOf(scope: Scope): string {
  const { schema, naming } = layoutOf(scope, sharedSchemas)
  return `"${schema}"."${naming.prefix}notes"`
}

async function fill(host: DatabaseHost, kind: StrategyName, scopes: readonly Scope[]): Promise<void> {
  const texts = scopes.map((scope) => fillOf(scope))
  if (kind === 'database') {
    for (const [i, text] of texts.entries()) {
      await host.asSuperuserIn(at(scopes, i).namespace, (client) => client.query(text))
    }
    return
  }
  const client = new Client({ connectionString: host.superUrl })
  await client.connect()
  for (const text of texts) await client.query(text)
  if (kind === 'rls') {
    await client.query(`create schema bare; create table bare.notes as select * from rls.notes; create unique index on bare.notes (tenant_id, id);
      grant usage on schema bare to "${host.appRole}"; grant select on bare.notes to "${host.appRole}"; analyze bare.notes`)
  }
  await client.end()
}

function isEmpty(options: object): boolean {
  return Object.keys(options).length === 0
}

function markColumns() {
  return { tenantId: uuid('tenant_id'), id: integer('id').notNull(), noteId: integer('note_id').notNull() }
}
