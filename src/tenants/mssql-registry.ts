import type { AdminConnection } from '../contracts/dialect.ts'
import { tenancyError } from '../errors.ts'
import type { RegistryTable } from './locking-store.ts'

type Query = AdminConnection['query']

/** Schemas of the server itself, and those of the fixed roles. */
const SYSTEM = /^(dbo|guest|sys|information_schema|db_.*)$/i
/** Milliseconds to wait for whoever else makes or upgrades the registry. */
const UPGRADE_WAIT_MS = 60_000
/**
 * Milliseconds to wait for a row; without this, for ever. The setting ends with its statement. The server says so before the connection
 * is given up, for then the statement is tried again.
 */
const LOCK_WAIT_MS = 4000
/** Compares code points; whatever the collation of the database, in which `acme` may be `ACME`. */
const TEXT = 'collate Latin1_General_100_BIN2 not null'

/** Steps of the registry's own schema, in order. One is never changed once released. */
const steps: readonly (readonly ((schema: string) => string)[])[] = [
  [
    (schema) => `create table ${schema}.tenants (
      id nvarchar(36) ${TEXT} constraint tenants_pkey primary key,
      identifier nvarchar(63) ${TEXT} constraint tenants_identifier_key unique,
      name nvarchar(255) ${TEXT},
      name_folded nvarchar(max) ${TEXT},
      status nvarchar(12) ${TEXT},
      strategy nvarchar(20) ${TEXT},
      server nvarchar(255) ${TEXT},
      namespace nvarchar(63) ${TEXT} constraint tenants_namespace_key unique,
      row_key nvarchar(255) ${TEXT},
      row_key_canonical nvarchar(255) ${TEXT} constraint tenants_row_key_canonical_key unique,
      metadata nvarchar(max) ${TEXT} constraint tenants_metadata_check check (isjson(metadata) = 1),
      version int not null,
      created_at nvarchar(24) ${TEXT},
      updated_at nvarchar(24) ${TEXT},
      change_number bigint not null
    )`,
    (schema) => `create index tenants_newest_idx on ${schema}.tenants (created_at desc, id desc)`,
    (schema) => `create index tenants_status_newest_idx on ${schema}.tenants (status, created_at desc, id desc)`,
    (schema) => `create index tenants_change_idx on ${schema}.tenants (change_number, id)`,
    (schema) => `create table ${schema}.change_counter (
      one tinyint not null constraint change_counter_pkey primary key constraint change_counter_one_check check (one = 1),
      last bigint not null,
      incarnation nvarchar(36) ${TEXT}
    )`,
    (schema) =>
      `insert into ${schema}.change_counter (one, last, incarnation) values (1, 0, convert(nvarchar(36), newid()))`,
    (schema) => `create table ${schema}.released_identifiers (
      identifier nvarchar(63) ${TEXT} constraint released_identifiers_pkey primary key,
      tenant_id nvarchar(36) ${TEXT}
    )`,
  ],
  [
    (schema) => `create table ${schema}.hot_tenants (
      one tinyint not null constraint hot_tenants_pkey primary key constraint hot_tenants_one_check check (one = 1),
      ids nvarchar(max) ${TEXT}
    )`,
    (schema) => `insert into ${schema}.hot_tenants (one, ids) values (1, N'')`,
  ],
]

/**
 * The registry in a schema of its own on SQL Server, which the serving login has no rights on.
 * @throws TENANCY_ERR_CONFIG_INVALID for a name that the server uses itself
 */
export function mssqlRegistry(schema: string): RegistryTable {
  if (SYSTEM.test(schema)) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      `- registrySchema: "${schema}" is a schema of the server itself. Give the registry one of its own.`,
    ])
  }
  const quoted = `[${schema.replaceAll(']', ']]')}]`
  return Object.freeze({
    name: `${quoted}.tenants`,
    counter: `${quoted}.change_counter`,
    // A restored database has another date, and tempdb that of the start of the server, on each replica another: changes may be lost.
    incarnation: `concat(incarnation, N'.', ${createdAt("name = N'tempdb'")}, N'.', ${createdAt('database_id = db_id()')})`,
    released: `${quoted}.released_identifiers`,
    hot: `${quoted}.hot_tenants`,
    locked: `${quoted}.tenants with (updlock) where id = ?`,
    metadata: 'metadata',
    // Cut to milliseconds; filled up, should trailing zeros be left out.
    now: `left(replace(convert(nvarchar(27), sysutcdatetime(), 121), N' ', N'T') + N'000', 23) + N'Z'`,
    first: (rows: number) => `offset 0 rows fetch next ${rows} rows only`,
    contains: (column: string) => `charindex(?, ${column}) > 0`,
    statement: (text: string) => `set lock_timeout ${LOCK_WAIT_MS}; ${numbered(text)}`,
    // Writers take the counter first, so while we share it there is none. Reading has no snapshot to read from: the database
    // may not keep old versions of rows.
    atOneMoment: (text: string) =>
      `begin transaction; declare @counted bigint; select @counted = last from ${quoted}.change_counter with (holdlock); ${text}; commit transaction`,
    initialize: (connection: AdminConnection) => connection.transaction((query) => migrate(query, schema, quoted)),
  })
}

function createdAt(database: string): string {
  return `(select convert(nvarchar(23), create_date, 126) from sys.databases where ${database})`
}

/** With `@p0`, `@p1` … for `?`. No text of ours has a question mark of its own. */
function numbered(text: string): string {
  let parameters = 0
  return text.replaceAll('?', () => `@p${parameters++}`)
}

/** In one transaction, under a lock that goes with it. */
async function migrate(query: Query, schema: string, quoted: string): Promise<void> {
  const [answer] = await query<{ got: unknown }>(
    `declare @got int; exec @got = sys.sp_getapplock @Resource = @p0, @LockMode = N'Exclusive',
      @LockOwner = N'Transaction', @LockTimeout = ${UPGRADE_WAIT_MS}; select @got as got`,
    [`fastify-tenancy:registry:${schema}`],
  )
  if (answer === undefined || Number(answer.got) < 0) throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
  // It must be alone in its batch, and asks for the right to create even when there is nothing to create.
  const found = await query('select 1 as one from sys.schemas where name = @p0', [schema])
  if (found.length === 0) await query(`create schema ${quoted}`)
  const ledger = await query(
    `select 1 as one from sys.tables t join sys.schemas s on s.schema_id = t.schema_id
      where s.name = @p0 and t.name = N'registry_migrations'`,
    [schema],
  )
  if (ledger.length === 0) {
    await query(
      `create table ${quoted}.registry_migrations (step int not null constraint registry_migrations_pkey primary key)`,
    )
  }
  const [row] = await query<{ step: unknown }>(`select max(step) as step from ${quoted}.registry_migrations`)
  for (let step = Number(row?.step ?? 0); step < steps.length; step++) {
    for (const text of steps[step] ?? []) await query(text(quoted))
    await query(`insert into ${quoted}.registry_migrations (step) values (@p0)`, [step + 1])
  }
}
