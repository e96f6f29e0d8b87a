import type { AdminConnection } from '../contracts/dialect.ts'
import { tenancyError } from '../errors.ts'
import type { RegistryTable } from './locking-store.ts'

type Query = AdminConnection['query']

/** Databases of the server itself. */
const SYSTEM = new Set(['mysql', 'sys', 'information_schema', 'performance_schema'])
/** Seconds to wait for whoever else makes or upgrades the registry. */
const LOCK_WAIT = 60

/** Steps of the registry's own schema, in order. One is never changed once released. */
const steps: readonly ((table: string) => string)[] = [
  (table) => `create table if not exists ${table} (
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
    name: `${quoted}.tenants`,
    lock: 'for update',
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
  for (let step = Number(row?.step ?? 0); step < steps.length; step++) {
    await query(steps[step]?.(`${quoted}.tenants`) ?? '')
    await query(`insert into ${quoted}.registry_migrations (step) values (?)`, [step + 1])
  }
}
