import type { AdminConnection } from '../contracts/dialect.ts'
import { foldNames } from './folded-names.ts'
import { commonSql, type RegistryTable } from './locking-store.ts'

type Query = AdminConnection['query']

/** Steps of the registry's own schema, in order. One is never changed once released. */
const steps: readonly (readonly (string | ((query: Query) => Promise<void>))[])[] = [
  [
    `create table tenants (
      id text not null primary key,
      identifier text not null unique,
      name text not null,
      status text not null,
      strategy text not null,
      server text not null,
      namespace text not null unique,
      row_key text not null,
      row_key_canonical text not null unique,
      metadata text not null check (json_valid(metadata)),
      version integer not null,
      created_at text not null,
      updated_at text not null
    )`,
    'create index tenants_newest_idx on tenants (created_at desc, id desc)',
    'create index tenants_status_newest_idx on tenants (status, created_at desc, id desc)',
  ],
  [
    'create table change_counter (one integer not null primary key check (one = 1), last integer not null)',
    'insert into change_counter (one, last) values (1, 0)',
    'alter table tenants add column change_number integer not null default 0',
    'create index tenants_change_idx on tenants (change_number, id)',
  ],
  [
    `alter table tenants add column name_folded text not null default ''`,
    (query) =>
      foldNames(query, {
        page: 'select id, name from tenants where id > ? order by id limit 1000',
        fill: `update tenants set name_folded = value ->> '$.name' from json_each(?) where tenants.id = value ->> '$.id'`,
      }),
  ],
  ['create table if not exists released_identifiers (identifier text not null primary key, tenant_id text not null)'],
  [
    `alter table change_counter add column incarnation text not null default ''`,
    'update change_counter set incarnation = lower(hex(randomblob(16)))',
  ],
  [
    `create table hot_tenants (one integer not null primary key check (one = 1), ids text not null)`,
    `insert into hot_tenants (one, ids) values (1, '')`,
  ],
]

/** The registry in a SQLite file of its own, which no tenant's connection opens. */
export const sqliteRegistry: RegistryTable = Object.freeze({
  ...commonSql,
  name: 'tenants',
  counter: 'change_counter',
  incarnation: 'incarnation',
  released: 'released_identifiers',
  hot: 'hot_tenants',
  // A transaction that writes is alone with its file from its beginning.
  locked: 'tenants where id = ?',
  now: `strftime('%Y-%m-%dT%H:%M:%fZ', 'now')`,
  initialize: (connection: AdminConnection) =>
    connection.transaction(async (query) => {
      await query('create table if not exists registry_migrations (step integer not null primary key)')
      const [row] = await query<{ step: unknown }>('select max(step) as step from registry_migrations')
      for (let step = Number(row?.step ?? 0); step < steps.length; step++) {
        for (const part of steps[step] ?? []) await (typeof part === 'string' ? query(part) : part(query))
        await query('insert into registry_migrations (step) values (?)', [step + 1])
      }
    }),
})
