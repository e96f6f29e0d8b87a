import { createHash } from 'node:crypto'
import type { AdminConnection } from '../contracts/dialect.ts'
import { foldNames } from './folded-names.ts'

type Query = AdminConnection['query']

/** One step of the registry's own schema. Steps are never changed once released; new ones are added at the end. */
export interface RegistryMigration {
  readonly name: string
  /** SQL, or what SQL alone cannot do. */
  readonly statements: readonly (string | ((query: Query) => Promise<void>))[]
}

/**
 * Gives the name of the channel on which the registry in a schema announces its changes. Only who reads the registry knows
 * it: any role may NOTIFY, and LISTEN, on a channel whose name it knows.
 */
export function changeChannelQuery(schema: string): string {
  return `select channel from ${quoteRegistry(schema)}.change_counter`
}

/** The channel of before, whose name anybody could work out, for a schema name that is quoted already. */
function guessableChannel(schema: string): string {
  return `tenancy_${createHash('md5').update(schema).digest('hex')}`
}

/** The steps in order, for a schema name that is quoted already. */
export function registryMigrations(schema: string): readonly RegistryMigration[] {
  return [
    {
      name: '0001_tenants',
      statements: [
        `create table ${schema}.tenants (
          id uuid constraint tenants_pkey primary key,
          identifier text not null constraint tenants_identifier_key unique,
          name text not null constraint tenants_name_check check (char_length(name) between 1 and 255),
          status text not null constraint tenants_status_check
            check (status in ('provisioning', 'active', 'suspended', 'deleted', 'purging', 'purged')),
          strategy text not null,
          server text not null,
          namespace text not null constraint tenants_namespace_key unique,
          metadata jsonb not null default '{}' constraint tenants_metadata_check check (jsonb_typeof(metadata) = 'object'),
          version integer not null default 1 constraint tenants_version_check check (version > 0),
          created_at timestamptz(3) not null default clock_timestamp(),
          updated_at timestamptz(3) not null default clock_timestamp()
        )`,
        `create index tenants_newest_idx on ${schema}.tenants (created_at desc, id desc)`,
        `create index tenants_status_newest_idx on ${schema}.tenants (status, created_at desc, id desc)`,
        `revoke all on schema ${schema} from public`,
        `revoke all on all tables in schema ${schema} from public`,
      ],
    },
    {
      // Unique by its canonical form: however two keys are written, no column type may read them as one value.
      name: '0002_row_keys',
      statements: [
        `alter table ${schema}.tenants add row_key text, add row_key_canonical text`,
        `update ${schema}.tenants set row_key = id::text, row_key_canonical = id::text`,
        `alter table ${schema}.tenants alter row_key set not null, alter row_key_canonical set not null,
          add constraint tenants_row_key_check check (char_length(row_key) between 1 and 255),
          add constraint tenants_row_key_canonical_key unique (row_key_canonical)`,
      ],
    },
    {
      // Taken before any row and held until the commit: numbers are visible in their order, and none is missed.
      name: '0003_change_counter',
      statements: [
        `create table ${schema}.change_counter (one boolean primary key default true check (one), last bigint not null)`,
        `insert into ${schema}.change_counter (last) values (0)`,
        `alter table ${schema}.tenants add change_number bigint not null default 0`,
        `create index tenants_change_idx on ${schema}.tenants (change_number, id)`,
        `create function ${schema}.take_change_number() returns trigger language plpgsql set search_path = '' as $body$
          begin
            update ${schema}.change_counter set last = last + 1;
            return null;
          end $body$`,
        `create function ${schema}.note_change() returns trigger language plpgsql set search_path = '' as $body$
          begin
            new.change_number := (select last from ${schema}.change_counter);
            -- Also what is written by hand is a new version, or caches would keep the old one.
            if tg_op = 'UPDATE' and new.version <= old.version then
              new.version := old.version + 1;
            end if;
            perform pg_catalog.pg_notify('${guessableChannel(schema)}', 'changed ' || new.id);
            return new;
          end $body$`,
        `create function ${schema}.note_removal() returns trigger language plpgsql set search_path = '' as $body$
          begin
            perform pg_catalog.pg_notify('${guessableChannel(schema)}', 'changed ' || old.id);
            return old;
          end $body$`,
        `create trigger tenants_take_change before insert or update on ${schema}.tenants
          for each statement execute function ${schema}.take_change_number()`,
        `create trigger tenants_note_change before insert or update on ${schema}.tenants
          for each row execute function ${schema}.note_change()`,
        `create trigger tenants_note_removal before delete on ${schema}.tenants
          for each row execute function ${schema}.note_removal()`,
        `revoke all on ${schema}.change_counter from public`,
        `revoke all on function ${schema}.take_change_number(), ${schema}.note_change(), ${schema}.note_removal()
          from public`,
      ],
    },
    {
      name: '0004_folded_names',
      statements: [
        `alter table ${schema}.tenants add name_folded text, disable trigger user`,
        (query) =>
          foldNames(query, {
            page: `select id::text as id, name from ${schema}.tenants where id > $1::text::uuid order by id limit 1000`,
            fill: `update ${schema}.tenants t set name_folded = f.name from
              jsonb_to_recordset($1::text::jsonb) as f(id uuid, name text) where t.id = f.id`,
          }),
        `alter table ${schema}.tenants alter name_folded set not null, enable trigger user`,
      ],
    },
    {
      // Behind the number of the change, which all writers take one after the other: each sees what was given up before.
      name: '0005_released_identifiers',
      statements: [
        `create table ${schema}.released_identifiers (identifier text primary key, tenant_id uuid not null)`,
        `create function ${schema}.keep_identifier() returns trigger language plpgsql set search_path = '' as $body$
          begin
            if exists (select from ${schema}.released_identifiers
                where identifier = new.identifier and tenant_id <> new.id) then
              raise unique_violation using message = 'this identifier was another tenant''s';
            end if;
            if tg_op = 'UPDATE' and old.identifier <> new.identifier then
              insert into ${schema}.released_identifiers values (old.identifier, old.id) on conflict do nothing;
            end if;
            return null;
          end $body$`,
        `create trigger tenants_keep_identifier after insert or update of identifier on ${schema}.tenants
          for each row execute function ${schema}.keep_identifier()`,
        `revoke all on ${schema}.released_identifiers from public`,
        `revoke all on function ${schema}.keep_identifier() from public`,
      ],
    },
    {
      // In the table and not in the functions: their text is everybody's to read.
      name: '0006_change_channel',
      statements: [
        `alter table ${schema}.change_counter
          add channel text not null default 'tenancy_' || pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', '')`,
        `create or replace function ${schema}.note_change() returns trigger language plpgsql set search_path = '' as $body$
          declare
            channel text;
          begin
            select c.last, c.channel into new.change_number, channel from ${schema}.change_counter c;
            if tg_op = 'UPDATE' and new.version <= old.version then
              new.version := old.version + 1;
            end if;
            perform pg_catalog.pg_notify(channel, 'changed ' || new.id);
            return new;
          end $body$`,
        `create or replace function ${schema}.note_removal() returns trigger language plpgsql set search_path = '' as $body$
          begin
            perform pg_catalog.pg_notify((select c.channel from ${schema}.change_counter c), 'changed ' || old.id);
            return old;
          end $body$`,
      ],
    },
    {
      name: '0007_incarnation',
      statements: [
        `alter table ${schema}.change_counter add incarnation uuid not null default pg_catalog.gen_random_uuid()`,
      ],
    },
    {
      name: '0008_hot_tenants',
      statements: [
        `create table ${schema}.hot_tenants (one boolean primary key default true check (one), ids text not null default '')`,
        `insert into ${schema}.hot_tenants default values`,
        `revoke all on ${schema}.hot_tenants from public`,
      ],
    },
  ]
}

/**
 * Brings the registry's schema up to date: in one transaction, under a lock that other processes wait for, with a ledger
 * of the steps done. What a newer release has added is left alone.
 */
export async function migrateRegistry(admin: AdminConnection, schema: string): Promise<void> {
  const quoted = quoteRegistry(schema)
  await admin.transaction(async (query) => {
    // A stricter default would fix the snapshot before the lock is held, and the others' work would stay unseen.
    await query('set transaction isolation level read committed')
    await query('select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))', [
      `fastify-tenancy:registry:${schema}`,
    ])
    // `if not exists` asks for the right to create even when there is nothing to create.
    const found = await query('select 1 from pg_catalog.pg_namespace where nspname = $1', [schema])
    if (found.length === 0) await query(`create schema ${quoted}`)
    const ledger = await query(
      `select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1 and c.relname = 'registry_migrations'`,
      [schema],
    )
    if (ledger.length === 0) {
      await query(
        `create table ${quoted}.registry_migrations
          (name text primary key, applied_at timestamptz not null default clock_timestamp())`,
      )
    }
    const rows = await query<{ name: string }>(`select name from ${quoted}.registry_migrations`)
    const applied = new Set(rows.map(({ name }) => name))
    for (const migration of registryMigrations(quoted)) {
      if (!applied.has(migration.name)) await apply(query, quoted, migration)
    }
    await indexNames(query, schema)
  })
}

/**
 * Searching for a part of a name is quick only with the extension pg_trgm, which not everyone may create: where somebody
 * did, the index is made; elsewhere the search reads the table.
 */
async function indexNames(query: Query, schema: string): Promise<void> {
  const [extension] = await query<{ schema: string }>(
    `select n.nspname as schema from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
      where e.extname = 'pg_trgm' and pg_catalog.has_schema_privilege(n.oid, 'usage')
        and pg_catalog.to_regclass($1::text) is null`,
    [`${quoteRegistry(schema)}.tenants_search_idx`],
  )
  if (extension === undefined) return
  const operators = `${quoteRegistry(extension.schema)}.gin_trgm_ops`
  await query(
    `create index tenants_search_idx on ${quoteRegistry(schema)}.tenants using gin (identifier ${operators}, name_folded ${operators})`,
  )
}

async function apply(query: Query, schema: string, migration: RegistryMigration): Promise<void> {
  await query(`insert into ${schema}.registry_migrations (name) values ($1)`, [migration.name])
  for (const statement of migration.statements) {
    await (typeof statement === 'string' ? query(statement) : statement(query))
  }
}

/** A name as it stands in SQL. */
export function quoteRegistry(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
