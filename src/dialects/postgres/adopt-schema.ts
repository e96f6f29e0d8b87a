import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import { tenancyError } from '../../errors.ts'
import { refusedDefinition } from './adopted-definitions.ts'
import { strangerLeaningOn } from './destroy-namespace.ts'
import type { Layout } from './layout.ts'
import { ledgerOf, markOf, type NamespaceRights, schemaMark } from './namespace-session.ts'
import { quoteIdentifier, quoteLiteral } from './quote.ts'
import { createDdlParser } from './rewrite-ddl.ts'
import { adoptionMarks } from './tenant-mark.ts'
import { placeFaults, rightsFaults, tieFaults } from './verify/namespace-faults.ts'

type Query = AdminConnection['query']

/** Names of schemas that were made for a tenant, whatever they are marked with now. */
const GENERATED = /^t[0-9a-z]{25}$/
const SYSTEM = /^pg_|^(?:information_schema|public)$/

/** What adoption needs to know besides. */
export interface AdoptionRights extends NamespaceRights {
  readonly registrySchema: string
}

/** A schema that is to become that of a scope. */
export interface Adopted {
  readonly scope: Scope
  readonly layout: Layout
  readonly rights: AdoptionRights
  /** Its name until now. */
  readonly from: string
}

/**
 * Makes the schema `from` that of a scope: under its generated name, in place of the empty one that was announced, with the tenant's mark, and
 * with nobody's rights but the owner's. Other rights come with the seal. All in the transaction of who calls.
 */
export async function adoptSchema(
  query: Query,
  { scope, layout, rights, from }: Adopted,
): Promise<readonly string[] | 'before' | undefined> {
  const refuse = (reason: string) => refused(from, reason)
  if (SYSTEM.test(from)) throw refuse('it is a schema of PostgreSQL')
  if (GENERATED.test(from)) throw refuse('it was made for a tenant')
  if (sharedSchemas(rights).includes(from)) throw refuse('it is a schema of fastify-tenancy')
  // Of two who want it one comes first, and the other finds it gone.
  await query('select pg_advisory_xact_lock(hashtextextended($1::text, 0))', [`fastify-tenancy:${from}`])
  const [mark, own] = [await markOf(query, from), await markOf(query, layout.schema)]
  const { announced, adopted, givenUp } = adoptionMarks(scope)
  if (own === undefined || own === givenUp) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
  if (own !== announced) {
    if (mark !== undefined || (own !== adopted && own !== schemaMark(scope, layout))) {
      throw refuse('the tenant has a schema already')
    }
    return 'before'
  }
  if (mark === undefined) throw refuse('there is no such schema')
  if (mark?.startsWith('fastify-tenancy ') === true) throw refuse('it is marked as made by fastify-tenancy')
  const ours = await tablesOfOurs(query, from)
  if (ours !== undefined) throw refuse(ours)
  const [obstacle] = await obstaclesIn(query, from, rights)
  if (obstacle !== undefined) throw refuse(obstacle)
  const stranger = await strangerLeaningOn(query, from)
  if (stranger !== undefined) throw refuse(`${stranger} depends on an object of it`)
  await takeRights(query, from)
  const schema = quoteIdentifier(layout.schema)
  await query(`drop schema ${schema}`)
  await query(`alter schema ${quoteIdentifier(from)} rename to ${schema}`)
  await markSchema(query, layout, schemaMark(scope, layout))
  await unpinRoutines(query, layout.schema)
  const parse = createDdlParser(rights.shared, rights.sharedTables)
  const definition = await refusedDefinition(query, layout.schema, (text) => parse(text).render(scope))
  if (definition !== undefined) throw refuse(definition)
  return takeJournal(query, layout)
}

/** Sees that an adopted schema, once it is sealed, is apart from all others, as one that was made would be. */
export async function assertApart(query: Query, { scope, layout, rights, from }: Adopted): Promise<void> {
  const { servingRole, shared } = rights
  const faults = [
    ...Object.values(await placeFaults(query, scope, layout)).flat(),
    ...(await tieFaults(query, layout, shared.extensionsSchema)),
    ...(await foreignGrants(query, layout, servingRole)),
  ]
  if (servingRole !== undefined) {
    const role = layout.role ?? servingRole
    faults.push(...Object.values((await rightsFaults(query, layout, role)).faults).flat())
  }
  if (faults[0] !== undefined) throw refused(from, faults[0])
}

/** Says what the schema of a layout is. */
export async function markSchema(query: Query, { schema }: Layout, mark: string): Promise<void> {
  await query(`comment on schema ${quoteIdentifier(schema)} is ${quoteLiteral(mark)}`)
}

export function refused(from: string, reason: string) {
  return tenancyError('TENANCY_ERR_ADOPTION_REFUSED', [from, reason])
}

function sharedSchemas({ registrySchema, shared, sharedTables }: AdoptionRights): string[] {
  const { extensionsSchema, rlsSchema, prefixSchema } = shared
  return [registrySchema, extensionsSchema, rlsSchema, prefixSchema, ...(sharedTables ? [sharedTables.schema] : [])]
}

/** Tables by which the schema of a registry, or of tenants, is known also under another name and mark: any app's of this database. */
async function tablesOfOurs(query: Query, schema: string): Promise<string | undefined> {
  const [found] = await query<{ name: string }>(
    `select c.relname::text as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and (c.relname = 'registry_migrations' or pg_catalog.starts_with(pg_catalog.obj_description(c.oid, 'pg_class'), 'fastify-tenancy ')) limit 1`,
    [schema],
  )
  return found && `the table ${found.name} in it is one of fastify-tenancy`
}

/** What a schema must not have in it, by the first sentence of each kind. */
export async function obstaclesIn(query: Query, schema: string, rights: NamespaceRights): Promise<string[]> {
  const rows = await query<{ what: string }>(
    `with n as (select * from pg_catalog.pg_namespace where nspname = $1),
       me as (select oid from pg_catalog.pg_roles where rolname = current_user),
       own as (
         select 'pg_catalog.pg_class'::regclass::oid as class, c.oid, c.relowner as owner from pg_catalog.pg_class c, n where c.relnamespace = n.oid
         union all select 'pg_catalog.pg_type'::regclass::oid, t.oid, t.typowner from pg_catalog.pg_type t, n where t.typnamespace = n.oid
         union all select 'pg_catalog.pg_proc'::regclass::oid, p.oid, p.proowner from pg_catalog.pg_proc p, n where p.pronamespace = n.oid
       ), parts as (
         select class, oid from own
         union all select 'pg_catalog.pg_constraint'::regclass::oid, k.oid from pg_catalog.pg_constraint k, n where k.connamespace = n.oid
         union all select 'pg_catalog.pg_attrdef'::regclass::oid, d.oid from pg_catalog.pg_attrdef d join own on own.oid = d.adrelid
         union all select 'pg_catalog.pg_trigger'::regclass::oid, t.oid from pg_catalog.pg_trigger t join own on own.oid = t.tgrelid
         union all select 'pg_catalog.pg_rewrite'::regclass::oid, w.oid from pg_catalog.pg_rewrite w join own on own.oid = w.ev_class
         union all select 'pg_catalog.pg_statistic_ext'::regclass::oid, s.oid from pg_catalog.pg_statistic_ext s, n where s.stxnamespace = n.oid
         union all select 'pg_catalog.pg_policy'::regclass::oid, p.oid from pg_catalog.pg_policy p join own on own.oid = p.polrelid
       )
     select 'the schema is not owned by the role of \`adminDatabaseUrl\`; alter schema … owner to it' as what from n, me where n.nspowner <> me.oid
     union all
     select pg_catalog.pg_describe_object(own.class, own.oid, 0) || ' is not owned by the role of \`adminDatabaseUrl\`; alter … owner to it'
     from own, me where own.owner <> me.oid
     union all
     select 'the extension ' || e.extname || ' is in it; alter extension … set schema ' || $2::text from pg_catalog.pg_extension e, n where e.extnamespace = n.oid
     union all
     select 'another role has set default privileges in it' from pg_catalog.pg_default_acl a, n, me where a.defaclnamespace = n.oid and a.defaclrole <> me.oid
     union all
     select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || ' depends on ' || pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
       || ', which is not in it'
     from parts join pg_catalog.pg_depend d on d.classid = parts.class and d.objid = parts.oid
     where d.deptype in ('n', 'a')
       and (pg_catalog.pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid)).schema <> all (array[pg_catalog.quote_ident($1::text), 'pg_catalog', 'information_schema', $2::text, $3::text])
       and not exists (select from pg_catalog.pg_depend e where e.classid = d.refclassid and e.objid = d.refobjid and e.deptype = 'e')`,
    [schema, rights.shared.extensionsSchema, rights.sharedTables?.schema ?? ''],
  )
  return rows.map(({ what }) => what)
}

/** Takes every right in a schema, in what is there and in what comes, from everybody but the owner. */
async function takeRights(query: Query, schema: string): Promise<void> {
  const place = quoteIdentifier(schema)
  const grantees = await query<{ role: string | null; later: string | null }>(
    `with n as (select * from pg_catalog.pg_namespace where nspname = $1), held as (
       select n.nspacl as acl, n.nspowner as owner, null as later from n
       union all select c.relacl, c.relowner, null from pg_catalog.pg_class c, n where c.relnamespace = n.oid
       union all select a.attacl, c.relowner, null from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid, n where c.relnamespace = n.oid
       union all select p.proacl, p.proowner, null from pg_catalog.pg_proc p, n where p.pronamespace = n.oid
       union all select d.defaclacl, d.defaclrole, case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' else 'types' end
         from pg_catalog.pg_default_acl d, n where d.defaclnamespace = n.oid
     )
     select distinct r.rolname::text as role, held.later from held cross join lateral pg_catalog.aclexplode(held.acl) g
     left join pg_catalog.pg_roles r on r.oid = g.grantee where g.grantee <> held.owner`,
    [schema],
  )
  for (const { role, later } of grantees) {
    const from = role === null ? 'public' : quoteIdentifier(role)
    if (later !== null) await query(`alter default privileges in schema ${place} revoke all on ${later} from ${from}`)
    else {
      const kinds = ['tables', 'sequences', ...(role === null ? [] : ['routines'])]
      const objects = kinds.map((kind) => `revoke all on all ${kind} in schema ${place} from ${from} cascade`)
      await query([`revoke all on schema ${place} from ${from} cascade`, ...objects].join(';'))
    }
  }
}

/** Rights of roles in the schema that are neither its owner nor who serves. */
async function foreignGrants(
  query: Query,
  { schema, role }: Layout,
  servingRole: string | undefined,
): Promise<string[]> {
  const rows = await query<{ role: string; object: string }>(
    `with n as (select * from pg_catalog.pg_namespace where nspname = $1), held as (
       select 'the schema' as object, n.nspacl as acl, n.nspowner as owner from n
       union all select c.relname::text, c.relacl, c.relowner from pg_catalog.pg_class c, n where c.relnamespace = n.oid
       union all select c.relname::text, a.attacl, c.relowner from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid, n where c.relnamespace = n.oid
     )
     select distinct coalesce(r.rolname::text, 'everybody') as role, held.object from held cross join lateral pg_catalog.aclexplode(held.acl) g
     left join pg_catalog.pg_roles r on r.oid = g.grantee where g.grantee <> held.owner and r.rolname is distinct from $2`,
    [schema, role ?? servingRole ?? null],
  )
  return rows.map(({ role: who, object }) => `${who} keeps rights on ${object}`)
}

/** A path of before would lead to where the schema no longer is, or to whatever else was on it. The seal gives its own. */
async function unpinRoutines(query: Query, schema: string): Promise<void> {
  const pinned = await query<{ routine: string }>(
    `select p.oid::regprocedure::text as routine from pg_catalog.pg_proc p
     where p.pronamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
       and exists (select from pg_catalog.unnest(p.proconfig) setting where pg_catalog.starts_with(setting, 'search_path='))`,
    [schema],
  )
  for (const { routine } of pinned) await query(`alter routine ${routine} reset search_path`)
}

/** What Drizzle's own migrator has written into the schema; ours takes its place. */
async function takeJournal(query: Query, layout: Layout): Promise<readonly string[] | undefined> {
  const [journal] = await query<{ there: boolean }>('select pg_catalog.to_regclass($1) is not null as there', [
    ledgerOf(layout),
  ])
  if (journal?.there !== true) return undefined
  const rows = await query<{ hash: string }>(`select hash from ${ledgerOf(layout)} order by id`)
  await query(`drop table ${ledgerOf(layout)}`)
  return rows.map(({ hash }) => hash)
}
