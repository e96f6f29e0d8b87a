import type { AdminConnection } from '../contracts/dialect.ts'
import { tenancyError } from '../errors.ts'
import { foldNames } from './folded-names.ts'
import { commonSql, type RegistryTable } from './locking-store.ts'

type Query = AdminConnection['query']

/** Databases of the server itself. */
const SYSTEM = new Set(['mysql', 'sys', 'information_schema', 'performance_schema'])
/** Seconds to wait for whoever else makes or upgrades the registry. */
const LOCK_WAIT = 60

/** One statement, because DDL commits: what it has done stays when the ledger could not be told. */
interface Statement {
  readonly text: (database: string) => string
  /** A table and its column that is there when it is done already. */
  readonly adds?: readonly [table: string, column: string]
}

/** What SQL alone cannot do; may be repeated. */
interface Work {
  readonly run: (database: string, query: Query) => Promise<void>
}

/** Steps of the registry's own schema, in order. One is never changed once released. */
const steps: readonly (Statement | Work)[] = [
  {
    text: (database) => `create table if not exists ${database}.tenants (
    id char(36) character set ascii collate ascii_bin not null primary key,
    identifier varchar(63) character set ascii collate ascii_bin not null unique,
    name varchar(255) not null,
    status varchar(12) character set ascii collate ascii_bin not null,
    strategy varchar(20) character set ascii collate ascii_bin not null,
    server varchar(255) collate utf8mb4_bin not null,
    namespace varchar(63) character set ascii collate ascii_bin not null unique,
    row_key varchar(255) collate utf8mb4_bin not null,
    row_key_canonical varchar(255) collate utf8mb4_bin not null unique,
    metadata longtext collate utf8mb4_bin not null check (json_valid(metadata)),
    version int unsigned not null,
    created_at char(24) character set ascii collate ascii_bin not null,
    updated_at char(24) character set ascii collate ascii_bin not null,
    index tenants_newest_idx (created_at desc, id desc),
    index tenants_status_newest_idx (status, created_at desc, id desc)
  ) engine = InnoDB character set utf8mb4`,
  },
  {
    text: (database) => `create table if not exists ${database}.change_counter
      (one tinyint not null primary key check (one = 1), last bigint unsigned not null) engine = InnoDB`,
  },
  { text: (database) => `insert ignore into ${database}.change_counter (one, last) values (1, 0)` },
  {
    adds: ['tenants', 'change_number'],
    text: (database) => `alter table ${database}.tenants add column change_number bigint unsigned not null default 0,
      add index tenants_change_idx (change_number, id)`,
  },
  {
    adds: ['tenants', 'name_folded'],
    text: (database) => `alter table ${database}.tenants add name_folded text collate utf8mb4_bin`,
  },
  {
    run: (database, query) =>
      foldNames(query, {
        page: `select id, name from ${database}.tenants where id > ? order by id limit 1000`,
        fill: `update ${database}.tenants t join json_table(?, '$[*]' columns (
            id char(36) character set ascii collate ascii_bin path '$.id', name text collate utf8mb4_bin path '$.name'
          )) f on f.id = t.id set t.name_folded = f.name`,
      }),
  },
  { text: (database) => `alter table ${database}.tenants modify name_folded text collate utf8mb4_bin not null` },
  {
    text: (database) => `create table if not exists ${database}.released_identifiers (
      identifier varchar(63) character set ascii collate ascii_bin not null primary key,
      tenant_id char(36) character set ascii collate ascii_bin not null) engine = InnoDB`,
  },
  {
    adds: ['change_counter', 'incarnation'],
    text: (database) => `alter table ${database}.change_counter
      add column incarnation char(36) character set ascii collate ascii_bin not null default ''`,
  },
  { text: (database) => `update ${database}.change_counter set incarnation = uuid() where incarnation = ''` },
  {
    text: (database) => `create table if not exists ${database}.hot_tenants
      (one tinyint not null primary key check (one = 1), ids longtext character set ascii not null) engine = InnoDB`,
  },
  { text: (database) => `insert ignore into ${database}.hot_tenants (one, ids) values (1, '')` },
]

/**
 * The registry in a database of its own on MySQL or MariaDB, which the serving account has no rights on.
 * @throws TENANCY_ERR_CONFIG_INVALID for a name that the server uses itself
 */
export function mysqlRegistry(database: string): RegistryTable {
  if (SYSTEM.has(database.toLowerCase())) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      `- registrySchema: "${database}" is a database of the server itself. Give the registry one of its own.`,
    ])
  }
  const quoted = `\`${database.replaceAll('`', '``')}\``
  return Object.freeze({
    ...commonSql,
    name: `${quoted}.tenants`,
    counter: `${quoted}.change_counter`,
    // Servers that replicate from each other differ in their number.
    incarnation: `concat(incarnation, '.', @@global.server_id)`,
    released: `${quoted}.released_identifiers`,
    hot: `${quoted}.hot_tenants`,
    locked: `${quoted}.tenants where id = ? for update`,
    now: `concat(date_format(utc_timestamp(3), '%Y-%m-%dT%H:%i:%s.'), lpad(microsecond(utc_timestamp(3)) div 1000, 3, '0'), 'Z')`,
    initialize: (connection: AdminConnection) =>
      // For its one connection: a lock is the session's, and DDL commits.
      connection.transaction((query) => locked(query, database, () => migrate(query, database, quoted))),
  })
}

async function locked(query: Query, database: string, work: () => Promise<void>): Promise<void> {
  const name = `fastify-tenancy:${database}`.slice(0, 64)
  const [answer] = await query<{ got: unknown }>('select get_lock(?, ?) as got', [name, LOCK_WAIT])
  if (Number(answer?.got) !== 1) throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
  try {
    await work()
  } finally {
    await query('select release_lock(?)', [name])
  }
}

async function migrate(query: Query, database: string, quoted: string): Promise<void> {
  // `if not exists` asks for the right to create even when there is nothing to create.
  const found = await query('select 1 from information_schema.schemata where schema_name = ?', [database])
  if (found.length === 0) await query(`create database ${quoted} character set utf8mb4`)
  await query(
    `create table if not exists ${quoted}.registry_migrations (step int not null primary key) engine = InnoDB`,
  )
  const [row] = await query<{ step: unknown }>(`select max(step) as step from ${quoted}.registry_migrations`)
  for (const [index, step] of steps.entries()) {
    if (index < Number(row?.step ?? 0)) continue
    if ('run' in step) await step.run(quoted, query)
    else if (step.adds === undefined || !(await hasColumn(query, database, ...step.adds)))
      await query(step.text(quoted))
    await query(`insert into ${quoted}.registry_migrations (step) values (?)`, [index + 1])
  }
}

async function hasColumn(query: Query, database: string, table: string, column: string): Promise<boolean> {
  const text = `select 1 from information_schema.columns
    where table_schema = ? and table_name = ? and column_name = ?`
  return (await query(text, [database, table, column])).length > 0
}
