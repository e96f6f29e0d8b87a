import type { AdminConnection } from '../../contracts/dialect.ts'
import { DdlRefusal } from '../../contracts/migrator.ts'

/** An object, and the statement with which a migration would have made it. */
interface Definition {
  readonly what: string
  /** Whether names in it are looked up each time it runs; in anything else PostgreSQL has bound them to objects. */
  readonly late: boolean
  readonly text: string
}

/**
 * Gives each object of a schema, and each that depends on one, to the reader of migrations: what it refuses there must not be adopted
 * either, and neither what it does not know. The schema must be first on the path, and its routines without a path of their own.
 * @returns what is wrong with the first that must not be there
 */
export async function refusedDefinition(
  query: AdminConnection['query'],
  schema: string,
  rewrite: (statement: string) => string,
): Promise<string | undefined> {
  for (const { what, text, late } of await definitionsIn(query, schema)) {
    try {
      if (rewrite(text) !== text && late) return `${what} names the schema public: leave that out`
    } catch (error) {
      if (!(error instanceof DdlRefusal)) throw error
      return `${what} is what a migration must not make: ${error.message}`
    }
  }
  return undefined
}

/** Names that the path finds are written without a schema, so one that is left leads out of it. */
function definitionsIn(query: AdminConnection['query'], schema: string): Promise<Definition[]> {
  return query<Definition>(
    `with recursive held(class, id) as (
       select 'pg_catalog.pg_namespace'::pg_catalog.regclass::oid, oid from pg_catalog.pg_namespace where nspname = $1
       union select d.classid, d.objid from pg_catalog.pg_depend d join held on d.refclassid = held.class and d.refobjid = held.id
     )
     select pg_catalog.pg_describe_object(held.class, held.id, 0) as what, p.oid is not null as late, case
       when c.relkind in ('v', 'm') then 'create view x as ' || pg_catalog.pg_get_viewdef(c.oid, true)
       when c.relkind in ('i', 'I') then pg_catalog.pg_get_indexdef(c.oid, 0, true)
       when c.relkind = 'p' then 'create table x (y int) partition by ' || pg_catalog.pg_get_partkeydef(c.oid)
       when c.relkind = 'c' then 'create type x as ()'
       when a.aggfnoid is not null then 'create aggregate x (' || (select pg_catalog.string_agg('f = ' || pg_catalog.quote_ident(proname), ', ')
         from pg_catalog.pg_proc where oid in (aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn)) || ')'
       -- A routine has the schema before its own name, always.
       when p.oid is not null then pg_catalog.regexp_replace(pg_catalog.pg_get_functiondef(p.oid), '^(CREATE OR REPLACE (?:FUNCTION|PROCEDURE) )' || $1 || '\\.', '\\1')
       when t.typdefaultbin is not null then 'create domain x as y default ' || pg_catalog.pg_get_expr(t.typdefaultbin, 0, true)
       when k.oid is not null then case when k.conrelid <> 0 then 'alter table x add ' else 'alter domain x add ' end || pg_catalog.pg_get_constraintdef(k.oid, true)
       when d.oid is not null then 'alter table x alter y set default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid, true)
       when g.oid is not null then pg_catalog.pg_get_triggerdef(g.oid, true)
       when w.oid is not null then pg_catalog.pg_get_ruledef(w.oid, true)
       when o.oid is not null then pg_catalog.concat('create policy x on y', ' using (' || pg_catalog.pg_get_expr(o.polqual, o.polrelid, true) || ')',
         ' with check (' || pg_catalog.pg_get_expr(o.polwithcheck, o.polrelid, true) || ')')
       when s.oid is not null then pg_catalog.concat_ws(' ', 'create statistics x on y,',
         pg_catalog.array_to_string(pg_catalog.pg_get_statisticsobjdef_expressions(s.oid), ', '), 'from', s.stxrelid::pg_catalog.regclass)
       else 'create ' || (pg_catalog.pg_identify_object(held.class, held.id, 0)).type || ' x'
     end as text
     from held
     left join pg_catalog.pg_class c on c.tableoid = held.class and c.oid = held.id
     left join pg_catalog.pg_proc p on p.tableoid = held.class and p.oid = held.id left join pg_catalog.pg_aggregate a on a.aggfnoid = p.oid
     left join pg_catalog.pg_type t on t.tableoid = held.class and t.oid = held.id
     left join pg_catalog.pg_constraint k on k.tableoid = held.class and k.oid = held.id
     left join pg_catalog.pg_attrdef d on d.tableoid = held.class and d.oid = held.id
     left join pg_catalog.pg_trigger g on g.tableoid = held.class and g.oid = held.id
     left join pg_catalog.pg_rewrite w on w.tableoid = held.class and w.oid = held.id
     left join pg_catalog.pg_policy o on o.tableoid = held.class and o.oid = held.id
     left join pg_catalog.pg_statistic_ext s on s.tableoid = held.class and s.oid = held.id
     where held.class not in ('pg_catalog.pg_namespace'::pg_catalog.regclass, 'pg_catalog.pg_default_acl'::pg_catalog.regclass)
       -- With what they belong to: where long values are, what keys do, and the rule that makes a view one.
       and c.relnamespace is distinct from 'pg_toast'::pg_catalog.regnamespace and g.tgisinternal is not true
       and (w.rulename = '_RETURN' and w.ev_type = '1') is not true
     order by held.class, held.id`,
    [schema],
  )
}
