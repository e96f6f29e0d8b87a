/** Names that hostile SQL spells. */
export interface Enemy {
  /** The schema of the tenant under attack, which is also the name of its role. */
  readonly schema: string
  /** The role of the tenant that attacks. */
  readonly own: string
  readonly servingRole: string
  readonly adminRole: string
}

/** A statement that tries to reach another tenant, and what the server must say. */
export interface Hostile {
  readonly text: string
  /** By default a missing right. `harmless`: it runs, and shows nothing. */
  readonly refused?: string
}

/** In a row of the tenant under attack. */
export const SECRET = 'secret of b'

const denied = (texts: readonly string[]): Hostile[] => texts.map((text) => ({ text }))

/** What reads rows of another tenant, in every way there is to say it. */
export function readings({ schema: b }: Enemy): Hostile[] {
  const byOid = `(select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = '${b}' and c.relname = 'items')`
  const sequence = byOid.replace("'items'", "'items_id_seq'")
  const texts = [
    `select * from "${b}".items`,
    `table "${b}".items`,
    `with x as (select * from "${b}".items) select * from x`,
    `select * from items join "${b}".items other using (id)`,
    `select * from items left join lateral (select secret from "${b}".items) other on true`,
    `select (select secret from "${b}".items limit 1)`,
    `select count(*) from "${b}".items`,
    `select exists (select from "${b}".items)`,
    `select * from items where id in (select id from "${b}".items)`,
    `select 1 union all select id from "${b}".items`,
    `insert into items (secret) select secret from "${b}".items`,
    `insert into items (secret) values ((select secret from "${b}".items limit 1)) returning *`,
    `update items set secret = other.secret from "${b}".items other returning *`,
    `delete from items using "${b}".items other returning other.*`,
    `merge into items using "${b}".items other on false when not matched then insert (secret) values (other.secret)`,
    `explain analyze select * from "${b}".items`,
    `select row_to_json(x) from "${b}".items x`,
    `select query_to_xml('select * from "${b}".items', true, false, '')`,
    `select table_to_xml(${byOid}::regclass, true, false, '')`,
    `select table_to_xml('"${b}".items', true, false, '')`,
    `select * from ts_stat('select to_tsvector(secret) from "${b}".items')`,
    `select "${b}".reads()`,
    `select nextval('"${b}".items_id_seq')`,
    `select nextval(${sequence}::regclass)`,
    `select setval(${sequence}::regclass, 1)`,
    `select last_value from "${b}".items_id_seq`,
    `select (null::"${b}".items).secret`,
    `select '"${b}".items'::regclass`,
    `select * from "${b}".shown`,
    `lock table "${b}".items in access share mode`,
    `prepare theft as select * from "${b}".items`,
    `call "${b}".writes()`,
    `select * from "${b}".items for update`,
    `select schema_to_xml('${b}', true, false, '')`,
    `select * from pg_stats where schemaname = '${b}'`,
    `select * from pg_stat_activity`,
    `select query from pg_stat_get_activity(null)`,
  ]
  return [
    ...denied(texts),
    { text: `select * from pg_sequences where schemaname = '${b}' and last_value is not null`, refused: 'harmless' },
    { text: `copy "${b}".items to stdout`, refused: 'TENANCY_ERR_STATEMENT_REFUSED' },
  ]
}

/** What writes rows of another tenant, or takes its objects. */
export function writings({ schema: b }: Enemy): Hostile[] {
  return denied([
    `insert into "${b}".items (secret) values ('forged')`,
    `update "${b}".items set secret = 'forged'`,
    `delete from "${b}".items`,
    `truncate "${b}".items`,
    `merge into "${b}".items using items mine on true when matched then delete`,
    `with gone as (delete from "${b}".items returning *) select * from gone`,
    `insert into "${b}".items (secret) values ('forged') on conflict do nothing`,
    `select setval('"${b}".items_id_seq', 1)`,
    `alter table "${b}".items add column mine int`,
    `alter table "${b}".items disable trigger all`,
    `drop table "${b}".items`,
    `drop schema "${b}" cascade`,
    `alter schema "${b}" rename to mine`,
    `create table "${b}".mine (id int)`,
    `create trigger mine before insert on "${b}".items for each row execute function suppress_redundant_updates_trigger()`,
    `create rule mine as on insert to "${b}".items do nothing`,
    `comment on table "${b}".items is 'mine'`,
    `create index on "${b}".items (id)`,
  ])
}

/** What gives a tenant more rights than it has, or makes something that outlives the statement. */
export function promotions({ schema: b, own, servingRole, adminRole }: Enemy): Hostile[] {
  const texts = [
    `select set_config('role', '${b}', true)`,
    `select set_config('role', 'none', false)`,
    `select set_config('search_path', '${b}', false)`,
    `select set_config('session_authorization', '${adminRole}', true)`,
    `with up as (select set_config('role', '${b}', true)) select query_to_xml('select * from "${b}".items', true, false, '') from up`,
    `update pg_settings set setting = '${b}' where name in ('role', 'search_path')`,
    `update pg_catalog.pg_settings set setting = 'on' where name = 'row_security'`,
    `do $$ begin execute 'set local role "${b}"'; insert into items (secret) select secret from "${b}".items; end $$`,
    `do $$ begin perform set_config('role', '${b}', false); end $$`,
    `set role "${adminRole}"`,
    `set local role postgres`,
    `set session authorization "${adminRole}"`,
    `set local session authorization postgres`,
    `grant "${b}" to current_user`,
    `grant select on "${b}".items to current_user`,
    `alter role "${b}" login`,
    `alter role current_user login`,
    `alter role current_user createrole`,
    `alter role "${servingRole}" set search_path to '${b}'`,
    `alter role "${servingRole}" set role to '${b}'`,
    `drop owned by "${b}"`,
    `reassign owned by "${b}" to current_user`,
    `alter default privileges for role "${b}" grant select on tables to current_user`,
    `alter default privileges for role "${adminRole}" grant select on tables to current_user`,
    `create view mine as select * from "${b}".items`,
    `create materialized view mine as select * from "${b}".items`,
    `create temp view mine as select * from "${b}".items`,
    `create temporary table mine (id int)`,
    `create table mine (id int)`,
    `create schema mine`,
    `create function mine() returns int language sql as 'select 1'`,
    `create function mine() returns int language sql set role to '${b}' as 'select 1'`,
    `create function pg_temp.mine() returns int language sql as 'select 1'`,
    `create function extensions.mine() returns int language sql as 'select 1'`,
    `create policy mine on items`,
    `alter table items rename to mine`,
    `alter function reads() security definer`,
    `create rule mine as on insert to items do also select set_config('role', '${b}', true)`,
    `alter table items alter secret set default set_config('role', '${b}', true)`,
    `comment on role "${own}" is 'mine'`,
    `drop role "${own}"`,
  ]
  return [
    ...denied(texts),
    { text: `select query_to_xml('set local role "${b}"', true, false, '')`, refused: '0A000' },
    { text: `select * from ts_stat('set local role "${b}"')`, refused: '42P11' },
  ]
}

/** What a login that serves many tenants may do, and what each of these must not change for the next statement. */
export function escapes({ schema: b, servingRole }: Enemy): string[] {
  return [
    `set local role "${b}"`,
    `set role "${b}"`,
    `reset role`,
    `set role none`,
    `set session authorization default`,
    `reset session authorization`,
    `set local session authorization "${servingRole}"`,
    `; /* nothing */ -- and more\n set local role "${b}"`,
    `set local search_path to "${b}"`,
    `discard plans`,
    `reset all`,
  ]
}
