import type { AdminConnection } from '../../../contracts/dialect.ts'

type Query = AdminConnection['query']

/** A table of the shared schema, as the catalogue has it. */
export interface SharedTable {
  readonly name: string
  /** `r`: a table, `p`: a partitioned one. */
  readonly kind: 'r' | 'p'
  readonly enabled: boolean
  readonly forced: boolean
  /** Type of the tenant column; null when there is none. */
  readonly type: string | null
  readonly required: boolean | null
  readonly default: string | null
  /** Whether an index begins with the tenant column. */
  readonly indexed: boolean
  /** Whether the serving role, or everybody, may TRUNCATE it, refer to it or put triggers on it. */
  readonly excessive: boolean
  /** Whether the serving role may read and write its rows. */
  readonly granted: boolean
  readonly policies: readonly string[]
}

/** Every table of a schema but the ledger. */
export function sharedTables(
  query: Query,
  at: { schema: string; column: string; ledger: string; role: string | null },
) {
  return query<SharedTable>(
    `select c.relname::text as name, c.relkind::text as kind, c.relrowsecurity as enabled, c.relforcerowsecurity as forced,
       a.atttypid::regtype::text as type, a.attnotnull as required,
       (select pg_catalog.pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d where d.adrelid = c.oid and d.adnum = a.attnum) as default,
       exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indkey[0] = a.attnum and i.indpred is null and i.indisvalid) as indexed,
       exists (select from pg_catalog.aclexplode(c.relacl) g
         where (g.grantee = 0 or g.grantee = (select oid from pg_catalog.pg_roles where rolname = $4))
           and g.privilege_type in ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN')) as excessive,
       (select count(*) from pg_catalog.aclexplode(c.relacl) g where g.grantee = (select oid from pg_catalog.pg_roles where rolname = $4)
         and g.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')) = 4 as granted,
       array(select p.polname::text from pg_catalog.pg_policy p where p.polrelid = c.oid order by 1) as policies
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $2 and not a.attisdropped
     where n.nspname = $1 and c.relkind in ('r', 'p') and c.relname <> $3
     order by c.relname`,
    [at.schema, at.column, at.ledger, at.role],
  )
}

/** A foreign key between two tables of the schema. */
export interface ForeignKey {
  readonly name: string
  readonly child: string
  readonly parent: string
  /** Whether the tenant column of the child refers to that of the parent. */
  readonly withTenant: boolean
}

/** The foreign keys inside a schema. */
export function foreignKeys(query: Query, schema: string, column: string): Promise<ForeignKey[]> {
  return query<ForeignKey>(
    `select k.conname::text as name, child.relname::text as child, parent.relname::text as parent,
       exists (select from rows from (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) pair(own, other)
         join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = pair.own
         join pg_catalog.pg_attribute b on b.attrelid = k.confrelid and b.attnum = pair.other
         where a.attname = $2 and b.attname = $2) as "withTenant"
     from pg_catalog.pg_constraint k
     join pg_catalog.pg_class child on child.oid = k.conrelid join pg_catalog.pg_class parent on parent.oid = k.confrelid
     where k.contype = 'f' and k.conparentid = 0
       and child.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
     order by 1`,
    [schema, column],
  )
}

/** The views of a schema that the serving role cannot use yet. */
export async function ungrantedViews(query: Query, schema: string, role: string): Promise<string[]> {
  const rows = await query<{ name: string }>(
    `select c.relname::text as name from pg_catalog.pg_class c
     where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1) and c.relkind = 'v'
       and not exists (select from pg_catalog.aclexplode(c.relacl) g
         where g.grantee = (select oid from pg_catalog.pg_roles where rolname = $2) and g.privilege_type = 'SELECT')`,
    [schema, role],
  )
  return rows.map(({ name }) => name)
}

/** Something in the schema through which rows could be reached beside the policies. */
export interface Passage {
  readonly name: string
  readonly kind: 'view' | 'materialized view' | 'function' | 'foreign table' | 'child elsewhere'
}

/** Views with the rights of their owner, materialized views that can be read, SECURITY DEFINER functions and the like. */
export function passages(query: Query, schema: string, role: string | null): Promise<Passage[]> {
  return query<Passage>(
    `with here as (select oid from pg_catalog.pg_namespace where nspname = $1)
     select c.relname::text as name, 'view' as kind from pg_catalog.pg_class c
       where c.relnamespace in (select oid from here) and c.relkind = 'v'
         and not coalesce('security_invoker=true' = any (c.reloptions) or 'security_invoker=on' = any (c.reloptions), false)
     union all
     select c.relname::text, case c.relkind when 'm' then 'materialized view' else 'foreign table' end from pg_catalog.pg_class c
       where c.relnamespace in (select oid from here) and c.relkind in ('m', 'f')
         and exists (select from pg_catalog.aclexplode(c.relacl) g
           where g.grantee = 0 or g.grantee = (select oid from pg_catalog.pg_roles where rolname = $2))
     union all
     select p.proname::text, 'function' from pg_catalog.pg_proc p where p.pronamespace in (select oid from here) and p.prosecdef
     union all
     select c.relname::text, 'child elsewhere' from pg_catalog.pg_inherits i
       join pg_catalog.pg_class parent on parent.oid = i.inhparent join pg_catalog.pg_class c on c.oid = i.inhrelid
       where parent.relnamespace in (select oid from here) and c.relnamespace <> parent.relnamespace and c.relkind in ('r', 'p')
     order by 1`,
    [schema, role],
  )
}

/** Unique indexes without the tenant column: they tell one tenant what another one has. */
export function oracles(query: Query, schema: string, column: string): Promise<{ table: string; index: string }[]> {
  return query<{ table: string; index: string }>(
    `select t.relname::text as table, x.relname::text as index from pg_catalog.pg_index i
     join pg_catalog.pg_class t on t.oid = i.indrelid join pg_catalog.pg_class x on x.oid = i.indexrelid
     join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attname = $2
     where t.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
       and i.indisunique and not (a.attnum = any (i.indkey::int2[]))
     order by 1, 2`,
    [schema, column],
  )
}
