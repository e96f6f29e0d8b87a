import type { AdminConnection } from '../../../contracts/dialect.ts'
import { changesOthers, SHARED_MARK } from '../shared/misuse.ts'

type Query = AdminConnection['query']

/** Which schema to look at, and for whom. */
export interface SharedSchema {
  readonly schema: string
  /** The column that says whose a row is. */
  readonly column: string
  /** Tables of the library's own, such as the ledger: no tenant has rows in them. */
  readonly internal: readonly string[]
  /** The serving role; null when the admin connection serves too. */
  readonly role: string | null
}

/** A policy, as the catalogue has it. */
export interface StoredPolicy {
  readonly name: string
  readonly permissive: boolean
  /** Whether it is for every command and every role. */
  readonly general: boolean
  readonly using: string | null
  readonly check: string | null
}

/** A table of the shared schema, as the catalogue has it. */
export interface SharedTable {
  readonly name: string
  /** `r`: a table, `p`: a partitioned one. */
  readonly kind: 'r' | 'p'
  readonly enabled: boolean
  readonly forced: boolean
  /** Type of the tenant column; null when there is none. */
  readonly type: string | null
  /** Whether different texts are different tenants: not so under a collation that folds case or accents. */
  readonly exact: boolean
  readonly required: boolean | null
  readonly default: string | null
  /** Whether an index begins with the tenant column; a partition gets its parent's. */
  readonly indexed: boolean
  /** Rights of the serving role, or of everybody, that row policies do not govern: TRUNCATE, REFERENCES, TRIGGER, MAINTAIN. */
  readonly excess: readonly string[]
  /** Whether the serving role may read and write its rows. */
  readonly granted: boolean
  /** Whether the serving role is its owner, or a member of the role that is. */
  readonly owned: boolean
  readonly policies: readonly StoredPolicy[]
}

/** Every table of a schema but those of the library's own. */
export function sharedTables(query: Query, at: SharedSchema): Promise<SharedTable[]> {
  return query<SharedTable>(
    `select c.relname::text as name, c.relkind::text as kind, c.relrowsecurity as enabled, c.relforcerowsecurity as forced,
       a.atttypid::regtype::text as type,
       coalesce((select k.collisdeterministic from pg_catalog.pg_collation k where k.oid = a.attcollation), true) as exact, a.attnotnull as required,
       (select pg_catalog.pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d where d.adrelid = c.oid and d.adnum = a.attnum) as default,
       c.relispartition or exists (select from pg_catalog.pg_index i
         where i.indrelid = c.oid and i.indkey[0] = a.attnum and i.indpred is null and i.indisvalid) as indexed,
       array(select distinct g.privilege_type from pg_catalog.aclexplode(c.relacl) g
         where (g.grantee = 0 or g.grantee = r.oid) and g.privilege_type in ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN') order by 1) as excess,
       (select count(*) from pg_catalog.aclexplode(c.relacl) g
         where g.grantee = r.oid and g.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')) = 4 as granted,
       coalesce(pg_catalog.pg_has_role(r.oid, c.relowner, 'MEMBER'), false) as owned,
       (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
           'name', p.polname, 'permissive', p.polpermissive, 'general', p.polcmd = '*' and p.polroles = '{0}',
           'using', pg_catalog.pg_get_expr(p.polqual, p.polrelid), 'check', pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)
         ) order by p.polname), '[]') from pg_catalog.pg_policy p where p.polrelid = c.oid) as policies
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $2 and not a.attisdropped
     left join pg_catalog.pg_roles r on r.rolname = $4
     where n.nspname = $1 and c.relkind in ('r', 'p') and c.relname::text <> all ($3::text[])
     order by c.relname`,
    [at.schema, at.column, at.internal, at.role],
  )
}

/** A foreign key between two tables of the schema. */
export interface ForeignKey {
  readonly name: string
  readonly child: string
  readonly parent: string
  /** Whether the tenant column of the child refers to that of the parent. */
  readonly withTenant: boolean
  /** Whether the parent is a table that all tenants read, and no tenant changes rows of others by way of it. */
  readonly toShared: boolean
}

/** The foreign keys of the tables of a schema. */
export function foreignKeys(query: Query, { schema, column, role }: SharedSchema): Promise<ForeignKey[]> {
  return query<ForeignKey>(
    `select k.conname::text as name, child.relname::text as child, parent.relname::text as parent,
       exists (select from rows from (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) pair(own, other)
         join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = pair.own
         join pg_catalog.pg_attribute b on b.attrelid = k.confrelid and b.attnum = pair.other
         where a.attname = $2 and b.attname = $2) as "withTenant",
       coalesce(pg_catalog.obj_description(parent.relnamespace, 'pg_namespace') = '${SHARED_MARK}', false)
         and not (${changesOthers('$3')}) as "toShared"
     from pg_catalog.pg_constraint k
     join pg_catalog.pg_class child on child.oid = k.conrelid join pg_catalog.pg_class parent on parent.oid = k.confrelid
     where k.contype = 'f' and k.conparentid = 0
       and child.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
     order by 1`,
    [schema, column, role],
  )
}

/** The views of a schema that the serving role cannot use yet. */
export async function ungrantedViews(query: Query, { schema, role }: SharedSchema): Promise<string[]> {
  if (role === null) return []
  const rows = await query<{ name: string }>(
    `select c.relname::text as name from pg_catalog.pg_class c
     where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1) and c.relkind = 'v'
       and not exists (select from pg_catalog.aclexplode(c.relacl) g
         where g.grantee = (select oid from pg_catalog.pg_roles where rolname = $2) and g.privilege_type = 'SELECT')`,
    [schema, role],
  )
  return rows.map(({ name }) => name)
}

/** Unique indexes and exclusion constraints without the tenant column: by their error one tenant learns what another has. */
export function oracles(
  query: Query,
  { schema, column, internal }: SharedSchema,
): Promise<{ table: string; index: string }[]> {
  return query<{ table: string; index: string }>(
    `select t.relname::text as table, x.relname::text as index from pg_catalog.pg_index i
     join pg_catalog.pg_class t on t.oid = i.indrelid join pg_catalog.pg_class x on x.oid = i.indexrelid
     join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attname = $2
     where t.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
       and (i.indisunique or i.indisexclusion) and not (a.attnum = any (i.indkey::int2[])) and not x.relispartition
       and t.relname::text <> all ($3::text[])
     order by 1, 2`,
    [schema, column, internal],
  )
}
