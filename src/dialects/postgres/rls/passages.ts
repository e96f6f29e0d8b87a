import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedSchema } from './catalogue.ts'

/** Something through which rows could be reached beside the policies. */
export interface Passage {
  readonly schema: string
  readonly name: string
  readonly kind: 'view' | 'materialized view' | 'foreign table' | 'function' | 'rule' | 'table'
}

/**
 * What PostgreSQL runs with the rights of an owner, who may be one that policies do not bind, and what takes no policies:
 * views without `security_invoker` and materialized views over the shared tables, in every schema that the serving role can
 * use; SECURITY DEFINER functions, rules and foreign tables; partitions and heirs in other schemas.
 * https://www.postgresql.org/docs/current/ddl-rowsecurity.html https://www.postgresql.org/docs/current/rules-privileges.html
 */
export function passages(query: AdminConnection['query'], { schema, role }: SharedSchema): Promise<Passage[]> {
  return query<Passage>(
    `with recursive here as (select oid from pg_catalog.pg_namespace where nspname = $1),
     shown(oid) as (
       select c.oid from pg_catalog.pg_class c where c.relnamespace in (select oid from here)
       union
       select w.ev_class from shown
       join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = shown.oid and d.classid = 'pg_catalog.pg_rewrite'::regclass
       join pg_catalog.pg_rewrite w on w.oid = d.objid
     ),
     usable as (
       select c.oid, c.relname, c.relkind, c.reloptions, c.relnamespace, n.nspname, c.relnamespace in (select oid from here) as inside,
         coalesce(pg_catalog.has_schema_privilege($2::name, n.oid, 'USAGE') and (
           pg_catalog.has_any_column_privilege($2::name, c.oid, 'SELECT, INSERT, UPDATE') or pg_catalog.has_table_privilege($2::name, c.oid, 'DELETE')), true) as usable
       from shown join pg_catalog.pg_class c on c.oid = shown.oid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       where c.relkind in ('v', 'm', 'f')
     )
     select nspname::text as schema, relname::text as name, 'view' as kind from usable
       where relkind = 'v' and (inside or usable)
         and not coalesce(reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1', 'security_invoker=yes'], false)
     union all
     select nspname::text, relname::text, case relkind when 'm' then 'materialized view' else 'foreign table' end from usable
       where relkind in ('m', 'f') and usable
     union all
     select $1, p.proname::text, 'function' from pg_catalog.pg_proc p where p.pronamespace in (select oid from here) and p.prosecdef
     union all
     select $1, w.rulename::text, 'rule' from pg_catalog.pg_rewrite w join pg_catalog.pg_class c on c.oid = w.ev_class
       where c.relnamespace in (select oid from here) and w.ev_type <> '1'
     union all
     select n.nspname::text, c.relname::text, 'table' from pg_catalog.pg_inherits i
       join pg_catalog.pg_class parent on parent.oid = i.inhparent join pg_catalog.pg_class c on c.oid = i.inhrelid
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       where parent.relnamespace in (select oid from here) and c.relnamespace <> parent.relnamespace and c.relkind in ('r', 'p', 'f')
     order by 1, 2`,
    [schema, role],
  )
}

/** Functions of other schemas that the serving role may call and that run with the rights of their owner. */
export function definerFunctionsElsewhere(
  query: AdminConnection['query'],
  { schema, role }: SharedSchema,
): Promise<Pick<Passage, 'schema' | 'name'>[]> {
  return query(
    `select n.nspname::text as schema, p.proname::text as name from pg_catalog.pg_proc p
     join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where p.prosecdef and n.nspname not in ($1, 'pg_catalog', 'information_schema')
       and coalesce(pg_catalog.has_schema_privilege($2::name, n.oid, 'USAGE') and pg_catalog.has_function_privilege($2::name, p.oid, 'EXECUTE'), true)
     order by 1, 2`,
    [schema, role],
  )
}
