import type { AdminConnection, DestroyReport } from '../../contracts/dialect.ts'
import { type Scope, TENANT_SETTING } from '../../contracts/isolation.ts'
import { tenancyError } from '../../errors.ts'
import { type Layout, layoutOf } from './layout.ts'
import {
  ledgerOf,
  lockNamespace,
  markOf,
  type NamespaceRights,
  schemaMark,
  sharedSchemaOf,
} from './namespace-session.ts'
import { quoteIdentifier } from './quote.ts'
import { destroyRows } from './rls/destroy-rows.ts'
import { claimRowKey, releaseRowKey } from './rls/row-keys.ts'
import { writersGone } from './rls/writers-gone.ts'
import { detachFromShared } from './shared/detach.ts'
import { tenantMark } from './tenant-mark.ts'
import { dropTenantRole } from './tenant-role.ts'

type Query = AdminConnection['query']

const NOTHING: DestroyReport = Object.freeze({ objects: 0, rows: 0 })

/** What stands in the way of a DROP without CASCADE. */
const DEPENDENT_OBJECTS = '2BP01'

/** Kinds of relations, in an order in which they can be dropped; indexes and toast tables go with their table. */
const RELATION_KINDS = [
  { kinds: ['v'], verb: 'view' },
  { kinds: ['m'], verb: 'materialized view' },
  { kinds: ['f'], verb: 'foreign table' },
  { kinds: ['r', 'p'], verb: 'table' },
  { kinds: ['S'], verb: 'sequence' },
] as const

/**
 * Removes the schema of a tenant or its prefixed objects, in one transaction, or its rows in shared tables. Nothing of anybody else goes with it: an
 * object elsewhere that leans on one of these stops it.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS, TENANCY_ERR_DESTROY_INCOMPLETE
 */
export async function destroyNamespace(
  admin: Pick<AdminConnection, 'query' | 'transaction'>,
  scope: Scope,
  rights: NamespaceRights,
): Promise<DestroyReport> {
  const layout = layoutOf(scope, rights.shared)
  if (scope.strategy === 'rls') return destroyOwnRows(admin, scope, layout, rights)
  if (rights.sharedTables !== undefined) {
    await detachFromShared(admin, layout, rights.sharedTables, async (query) => {
      await lockNamespace(query, scope, layout)
      return layout.own ? isOurs(query, scope, layout) : isOurPrefix(query, scope, layout)
    })
  }
  return admin.transaction(async (query) => {
    await lockNamespace(query, scope, layout)
    return layout.own ? destroySchema(query, scope, layout) : destroyPrefixed(query, scope, layout)
  })
}

async function destroyOwnRows(
  admin: Pick<AdminConnection, 'query' | 'transaction'>,
  scope: Scope,
  layout: Layout,
  rights: NamespaceRights,
): Promise<DestroyReport> {
  const there = await admin.transaction(async (query) => {
    await lockNamespace(query, scope, layout)
    if (!(await isOurs(query, scope, layout))) return false
    // The rows of a key are those of who has it. One that is not taken is from now on: it must not be used again.
    if (await claimRowKey(query, layout.schema, scope)) return true
    throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', ['another tenant has its row key'])
  })
  if (!there) return NOTHING
  const at = sharedSchemaOf(layout, rights)
  await writersGone(admin.query, at)
  return destroyRows(admin, scope.settings[TENANT_SETTING] ?? '', at)
}

/** Gives back the row key of a tenant that never was. Waits for whoever is still making it: what he claims is given back too. */
export async function releaseNamespace(
  admin: Pick<AdminConnection, 'transaction'>,
  scope: Scope,
  rights: NamespaceRights,
): Promise<void> {
  if (scope.strategy !== 'rls') return
  const layout = layoutOf(scope, rights.shared)
  await admin.transaction(async (query) => {
    await lockNamespace(query, scope, layout)
    if (await isOurs(query, scope, layout)) await releaseRowKey(query, layout.schema, scope)
  })
}

/** False when the schema of a scope does not exist. @throws TENANCY_ERR_NAMESPACE_EXISTS when it is not marked as ours */
async function isOurs(query: Query, scope: Scope, layout: Layout): Promise<boolean> {
  const mark = await markOf(query, layout.schema)
  if (mark === undefined || mark === schemaMark(scope, layout)) return mark !== undefined
  throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [layout.schema])
}

async function destroySchema(query: Query, scope: Scope, layout: Layout): Promise<DestroyReport> {
  // A role that is left from before counts like one in use.
  if (!(await isOurs(query, scope, layout))) return { objects: await dropTenantRole(query, scope), rows: 0 }
  const { schema } = layout
  const stranger = await strangerLeaningOn(query, schema)
  if (stranger !== undefined) {
    throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [`${stranger} depends on an object of it`])
  }
  const objects = (await relationsOf(query, schema, '')).length + (await typesOf(query, schema, '')).length
  await query(`drop schema ${quoteIdentifier(schema)} cascade`)
  return { objects: objects + 1 + (await dropTenantRole(query, scope)), rows: 0 }
}

async function destroyPrefixed(query: Query, scope: Scope, layout: Layout): Promise<DestroyReport> {
  const { schema, naming } = layout
  const relations = await relationsOf(query, schema, naming.prefix)
  const types = await typesOf(query, schema, naming.prefix)
  if (relations.length + types.length === 0) return NOTHING
  if (!(await isOurPrefix(query, scope, layout))) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
  const full = (name: string) => `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
  for (const { kinds, verb } of RELATION_KINDS) {
    const names = relations.filter(({ kind }) => (kinds as readonly string[]).includes(kind)).map(({ name }) => name)
    // All at once: they may reference each other. A sequence may be gone with its table.
    if (names.length > 0) await drop(query, `drop ${verb} if exists ${names.map(full).join(', ')}`)
  }
  if (types.length > 0) await drop(query, `drop type if exists ${types.map(full).join(', ')}`)
  const left = [
    ...(await relationsOf(query, schema, naming.prefix)).map(({ name }) => name),
    ...(await typesOf(query, schema, naming.prefix)),
  ]
  if (left.length > 0) throw tenancyError('TENANCY_ERR_DESTROY_INCOMPLETE', [`${left.length} objects are left`])
  return { objects: relations.length + types.length, rows: 0 }
}

async function isOurPrefix(query: Query, scope: Scope, layout: Layout): Promise<boolean> {
  const [ledger] = await query<{ mark: string | null }>(
    `select pg_catalog.obj_description(pg_catalog.to_regclass($1), 'pg_class') as mark`,
    [ledgerOf(layout)],
  )
  return ledger?.mark === tenantMark(scope)
}

async function drop(query: Query, statement: string): Promise<void> {
  try {
    await query(statement)
  } catch (error) {
    if ((error as { code?: unknown }).code !== DEPENDENT_OBJECTS) throw error
    throw tenancyError(
      'TENANCY_ERR_DESTROY_INCOMPLETE',
      ["an object that is not the tenant's depends on one of it"],
      error,
    )
  }
}

interface Relation {
  readonly name: string
  readonly kind: string
}

/** Tables, views and sequences of a schema whose names begin with `prefix`. */
function relationsOf(query: Query, schema: string, prefix: string): Promise<Relation[]> {
  return query<Relation>(
    `select c.relname::text as name, c.relkind::text as kind from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and pg_catalog.starts_with(c.relname::text, $2) and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
       and not c.relispartition`,
    [schema, prefix],
  )
}

/** Types that stand alone: enums, domains, ranges, composites without a table. */
async function typesOf(query: Query, schema: string, prefix: string): Promise<string[]> {
  const rows = await query<{ name: string }>(
    `select t.typname::text as name from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
     left join pg_catalog.pg_class c on c.oid = t.typrelid
     where n.nspname = $1 and pg_catalog.starts_with(t.typname::text, $2)
       and (t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and c.relkind = 'c'))`,
    [schema, prefix],
  )
  return rows.map(({ name }) => name)
}

/** An object of another schema that DROP … CASCADE would take along. */
export async function strangerLeaningOn(query: Query, schema: string): Promise<string | undefined> {
  const [found] = await query<{ object: string }>(
    `with own as (
       select 'pg_catalog.pg_class'::regclass::oid as class, c.oid from pg_catalog.pg_class c where c.relnamespace = $1::text::regnamespace
       union all select 'pg_catalog.pg_type'::regclass::oid, t.oid from pg_catalog.pg_type t where t.typnamespace = $1::text::regnamespace
       union all select 'pg_catalog.pg_proc'::regclass::oid, p.oid from pg_catalog.pg_proc p where p.pronamespace = $1::text::regnamespace
     )
     select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as object
     from own join pg_catalog.pg_depend d on d.refclassid = own.class and d.refobjid = own.oid
     where d.deptype in ('n', 'a') and coalesce(
       (pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid)).schema,
       (pg_catalog.pg_identify_object_as_address(d.classid, d.objid, d.objsubid)).object_names[1]) not in ($1::text, $2)
     limit 1`,
    [quoteIdentifier(schema), schema],
  )
  return found?.object
}
