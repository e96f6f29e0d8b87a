import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { Layout } from '../layout.ts'
import { ledgerOf, ledgerSequence, markOf, schemaMark } from '../namespace-session.ts'
import { adoptionMarks, tenantMark } from '../tenant-mark.ts'
import { SHARED_MARK } from '../shared/misuse.ts'

type Query = AdminConnection['query']

/** What the catalogue has against a namespace, by check. */
export type Faults = Readonly<Record<string, readonly string[]>>

/** Whether the namespace is there and this tenant's, with the ledger of its migrations. */
export async function placeFaults(query: Query, scope: Scope, layout: Layout): Promise<Faults> {
  const mark = await markOf(query, layout.schema)
  const place =
    mark === undefined
      ? [`the schema ${layout.schema} does not exist`]
      : mark === schemaMark(scope, layout) || mark === adoptionMarks(scope).adopted
        ? []
        : [`the schema ${layout.schema} is not marked as made for ${layout.own ? 'this tenant' : 'tenants'}`]
  return { namespace: place, ledger: place.length > 0 ? [] : await ledgerFaults(query, scope, layout) }
}

async function ledgerFaults(query: Query, scope: Scope, layout: Layout): Promise<string[]> {
  const [ledger] = await query<{ there: boolean; mark: string | null }>(
    `select pg_catalog.to_regclass($1) is not null as there,
       pg_catalog.obj_description(pg_catalog.to_regclass($1), 'pg_class') as mark`,
    [ledgerOf(layout)],
  )
  if (ledger?.there !== true) return ['there is no ledger of migrations']
  return ledger.mark === tenantMark(scope) ? [] : ['the ledger of migrations is not marked as made for this tenant']
}

/** A relation, schema or function, and what the serving role or everybody may do with it. */
interface ObjectRow {
  readonly name: string
  readonly kind: 'schema' | 'ledger' | 'rows' | 'sequence' | 'function'
  readonly owned: boolean
  readonly rights: readonly string[]
  readonly everybody: readonly string[]
}

const ROWS = ['SELECT', 'INSERT', 'UPDATE', 'DELETE']

/** What the serving role is given, of each kind of object, and nothing more. */
const GRANTED: Readonly<Record<ObjectRow['kind'], readonly string[]>> = {
  schema: ['USAGE'],
  ledger: [],
  rows: ROWS,
  sequence: ['USAGE', 'SELECT', 'UPDATE'],
  function: ['EXECUTE'],
}

/** Rights beyond those that were granted, by way of another role too; ownership; and rights that are missing. */
export async function rightsFaults(
  query: Query,
  layout: Layout,
  role: string,
): Promise<{ readonly faults: Faults; readonly missing: readonly string[] }> {
  const objects = await objectsOf(query, layout, role)
  const owned = objects.filter((one) => one.owned)
  const faults = objects.flatMap(({ name, kind, rights, everybody, owned: own }) => {
    const excess = own ? [] : rights.filter((right) => !GRANTED[kind].includes(right))
    return [
      ...(excess.length > 0 ? [`the serving role has ${excess.join(', ')} on ${name}`] : []),
      ...(everybody.length > 0 && kind !== 'function' ? [`everybody has ${everybody.join(', ')} on ${name}`] : []),
    ]
  })
  const missing = objects
    .filter(({ kind, owned: own }) => !own && (kind === 'rows' || kind === 'schema'))
    .flatMap(({ name, kind, rights, everybody }) => {
      const lacking = GRANTED[kind].filter((right) => !rights.includes(right) && !everybody.includes(right))
      return lacking.length > 0 ? [`the serving role lacks ${lacking.join(', ')} on ${name}`] : []
    })
  return {
    faults: {
      owner: owned.map(({ name }) => `the serving role owns ${name}, or is a member of its owner`),
      rights: faults,
    },
    missing,
  }
}

function objectsOf(query: Query, layout: Layout, role: string): Promise<ObjectRow[]> {
  // An owner's own rights count as the owner's.
  const held = (
    acl: string,
    owner: string,
  ) => `array(select distinct g.privilege_type from pg_catalog.aclexplode(${acl}) g
      where g.grantee <> 0 and g.grantee <> ${owner} and pg_catalog.pg_has_role(r.oid, g.grantee, 'MEMBER') order by 1)`
  const everybody = (acl: string) =>
    `array(select distinct g.privilege_type from pg_catalog.aclexplode(${acl}) g where g.grantee = 0 order by 1)`
  const owned = (owner: string) => `pg_catalog.pg_has_role(r.oid, ${owner}, 'MEMBER') as owned`
  return query<ObjectRow>(
    `with r as (select oid from pg_catalog.pg_roles where rolname = $2), n as (select * from pg_catalog.pg_namespace where nspname = $1)
     select 'the schema ' || n.nspname as name, 'schema' as kind, ${owned('n.nspowner')},
       ${held('n.nspacl', 'n.nspowner')} as rights, ${everybody('n.nspacl')} as everybody
     from r, n
     union all
     select 'the ' || case c.relkind when 'S' then 'sequence ' when 'v' then 'view ' else 'table ' end || c.relname,
       case when c.oid in (pg_catalog.to_regclass($4), pg_catalog.to_regclass($5)) then 'ledger' when c.relkind = 'S' then 'sequence' else 'rows' end,
       ${owned('c.relowner')}, ${held('c.relacl', 'c.relowner')}, ${everybody('c.relacl')}
     from r, n join pg_catalog.pg_class c on c.relnamespace = n.oid
     where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and pg_catalog.starts_with(c.relname::text, $3)
     union all
     select 'the function ' || p.proname, 'function', ${owned('p.proowner')}, ${held('p.proacl', 'p.proowner')}, ${everybody('p.proacl')}
     from r, n join pg_catalog.pg_proc p on p.pronamespace = n.oid where pg_catalog.starts_with(p.proname::text, $3)`,
    [layout.schema, role, layout.naming.prefix, ledgerOf(layout), ledgerSequence(layout)],
  )
}

/** Keys, views and the like that tie objects of this namespace to those of another one. */
export async function tieFaults(query: Query, layout: Layout, extensionsSchema: string): Promise<string[]> {
  const rows = await query<{ object: string; other: string }>(
    `with own as (
       select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       where n.nspname = $1 and pg_catalog.starts_with(c.relname::text, $2)
     ), tied as (
       select k.conname::text as object, k.conrelid as one, k.confrelid as other from pg_catalog.pg_constraint k where k.contype = 'f'
       union
       select i.inhrelid::regclass::text, i.inhrelid, i.inhparent from pg_catalog.pg_inherits i
       union
       select w.ev_class::regclass::text, w.ev_class, d.refobjid from pg_catalog.pg_rewrite w
       join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
         and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> w.ev_class
     )
     select distinct t.object, stranger.relname::text as other from tied t
     join pg_catalog.pg_class stranger on stranger.oid = case when t.one in (select oid from own) then t.other else t.one end
     join pg_catalog.pg_namespace sn on sn.oid = stranger.relnamespace
     where (t.one in (select oid from own)) <> (t.other in (select oid from own))
       and sn.nspname not in ($3, 'pg_catalog', 'information_schema')
       -- A table that all tenants read may be referred to; it may not refer to one of theirs.
       and not (t.one in (select oid from own) and coalesce(pg_catalog.obj_description(sn.oid, 'pg_namespace'), '') = $4)`,
    [layout.schema, layout.naming.prefix, extensionsSchema, SHARED_MARK],
  )
  return rows.map(({ object }) => `${object} ties a table of this tenant to one that is not its own`)
}
