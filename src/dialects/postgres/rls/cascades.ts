import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { SharedSchema } from './catalogue.ts'

/** Code of the user's that a foreign key runs past the policies. */
export interface CascadedCode {
  readonly table: string
  readonly key: string
  readonly kind: 'trigger' | 'function'
  readonly name: string
}

/**
 * What a foreign key changes, PostgreSQL changes as the owner of the table and without FORCE, and so runs whatever comes in
 * between: a BEFORE trigger, or a function in a CHECK, a domain or a generated column, sees and changes the rows of all
 * tenants. AFTER triggers come later, under the policies again. An IMMUTABLE function says of itself that it reads no table.
 * https://www.postgresql.org/docs/current/ddl-rowsecurity.html (referential integrity checks)
 */
export function cascadedCode(query: AdminConnection['query'], { schema }: SharedSchema): Promise<CascadedCode[]> {
  return query<CascadedCode>(
    `with changing as (
       select k.conname, c.oid, c.relname, k.confdeltype = 'c' as deletes,
         k.confdeltype in ('n', 'd') or k.confupdtype in ('c', 'n', 'd') as updates, 'd' in (k.confdeltype, k.confupdtype) as defaults
       from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid
       where k.contype = 'f' and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
     ),
     called as (
       select d.classid, d.objid, p.proname from pg_catalog.pg_depend d
       join pg_catalog.pg_proc p on p.oid = d.refobjid join pg_catalog.pg_language l on l.oid = p.prolang
       where d.refclassid = 'pg_catalog.pg_proc'::regclass and p.oid >= 16384 and p.provolatile <> 'i' and l.lanname <> 'internal'
     )
     select relname::text as table, conname::text as key, 'trigger' as kind, t.tgname::text as name
     from changing join pg_catalog.pg_trigger t on t.tgrelid = changing.oid
     join pg_catalog.pg_proc p on p.oid = t.tgfoid join pg_catalog.pg_language l on l.oid = p.prolang
     where not t.tgisinternal and t.tgtype & 2 = 2 and l.lanname <> 'internal'
       and ((deletes and t.tgtype & 8 = 8) or (updates and t.tgtype & 16 = 16))
     union
     select relname::text, conname::text, 'function', called.proname::text
     from changing join called on called.classid = 'pg_catalog.pg_constraint'::regclass and called.objid in (
       select k.oid from pg_catalog.pg_constraint k where k.conrelid = changing.oid
       union all
       select k.oid from pg_catalog.pg_constraint k join pg_catalog.pg_attribute a on a.atttypid = k.contypid
         where a.attrelid = changing.oid and not a.attisdropped)
     where updates
     union
     select relname::text, conname::text, 'function', called.proname::text
     from changing join pg_catalog.pg_attrdef f on f.adrelid = changing.oid
     join pg_catalog.pg_attribute a on a.attrelid = f.adrelid and a.attnum = f.adnum
     join called on called.classid = 'pg_catalog.pg_attrdef'::regclass and called.objid = f.oid
     where (updates and a.attgenerated <> '') or defaults
     order by 1, 2, 3, 4`,
    [schema],
  )
}
