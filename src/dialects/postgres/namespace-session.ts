import type { AdminConnection } from '../../contracts/dialect.ts'
import { type Scope, TENANT_SETTING } from '../../contracts/isolation.ts'
import type { NamespaceSession } from '../../contracts/migrator.ts'
import type { SharedTables } from '../../contracts/shared-tables.ts'
import { tenancyError } from '../../errors.ts'
import { ledgerEntry, type LedgerRow } from '../ledger-row.ts'
import { type Layout, layoutOf, type LayoutOptions } from './layout.ts'
import { quoteIdentifier, quoteLiteral } from './quote.ts'
import type { SharedSchema } from './rls/catalogue.ts'
import { fillTenantColumn } from './own-tenant-column.ts'
import { pinRoutines } from './pin-routines.ts'
import { protect } from './rls/protect.ts'
import { assertRowKeyFits } from './rls/row-key-fit.ts'
import { claimRowKey, ROW_KEYS } from './rls/row-keys.ts'
import { giveRights, ownRights, type SchemaRights, sharedRights } from './schema-rights.ts'
import { tenantMark } from './tenant-mark.ts'
import { giveTenantRole, takeTenantRole } from './tenant-role.ts'
import { refuseMisuse } from './shared/misuse.ts'

/** Drizzle's own journal table, so that a schema migrated by drizzle before stays known. */
const LEDGER = '__drizzle_migrations'

/** What {@link openNamespaceSession} needs of the server. */
export interface NamespaceRights {
  /** Role of the serving connection: gets rows, never DDL. Absent when the admin connection serves too. */
  readonly servingRole: string | undefined
  readonly shared: LayoutOptions
  /** Tables that all tenants use. */
  readonly sharedTables?: SharedTables | undefined
}

type Query = AdminConnection['query']

/** A place for tables with a ledger of its own. */
export interface Place {
  readonly layout: Layout
  /** What the schema is marked with, so that one made by somebody else is never taken for it. */
  readonly mark: string
  /** The same for the ledger. */
  readonly ledgerMark: string
  /**
   * Whether a statement locks tables that all tenants share, as one does that refers to them. Those come one after the other:
   * two that lock several such tables would wait for each other.
   */
  locks?(statement: string): boolean
  /** Rights of the serving role in what exists later: statements for a schema and a role. */
  readonly grants: SchemaRights
  seal(): Promise<void>
}

/**
 * Opens one namespace inside a running admin transaction: takes its advisory lock (released with the transaction) and
 * puts it on the path.
 */
export async function openNamespaceSession(
  query: Query,
  scope: Scope,
  rights: NamespaceRights,
): Promise<NamespaceSession> {
  const layout = layoutOf(scope, rights.shared)
  const grants = scope.strategy === 'rls' ? sharedRights : ownRights
  await lockNamespace(query, scope, layout)
  return openPlace(query, rights, {
    layout,
    mark: schemaMark(scope, layout),
    ledgerMark: layout.naming.prefix === '' ? schemaMark(scope, layout) : tenantMark(scope),
    ...(rights.sharedTables !== undefined && { locks: namesSchema(rights.sharedTables.schema) }),
    grants,
    async seal() {
      const { servingRole, sharedTables } = rights
      if (layout.naming.prefix === '') await pinRoutines(query, layout)
      if (scope.strategy === 'rls') await sealRows(query, scope, sharedSchemaOf(layout, rights))
      else if (scope.rowKey !== undefined) {
        await fillTenantColumn(query, layout, rights.shared.tenantColumn, scope.rowKey)
      }
      if (sharedTables !== undefined) await refuseMisuse(query, layout, sharedTables, servingRole)
      if (servingRole === undefined) return
      // Last: it locks out everybody else who makes roles, until this transaction ends.
      if (layout.role !== undefined) return giveTenantRole(query, scope, servingRole)
      if (scope.strategy === 'schema') await takeTenantRole(query, scope, servingRole)
      await giveRights(query, layout.schema, servingRole, grants)
    },
  })
}

async function sealRows(query: Query, scope: Scope, at: SharedSchema): Promise<void> {
  await protect(query, at)
  await assertRowKeyFits(query, at, scope.settings[TENANT_SETTING] ?? '')
  if (!(await claimRowKey(query, at.schema, scope))) throw tenancyError('TENANCY_ERR_TENANT_EXISTS')
}

function namesSchema(schema: string): (statement: string) => boolean {
  const qualifier = `${quoteIdentifier(schema)}.`
  return (statement) => statement.includes(qualifier)
}

/** Opens a place, for who has its lock. */
export async function openPlace(query: Query, rights: NamespaceRights, place: Place): Promise<NamespaceSession> {
  const { layout } = place
  const ledger = ledgerOf(layout)
  // The rewriter reads backslashes in strings as this setting has them.
  await query('set local standard_conforming_strings to on')
  await query(`set local search_path to ${layout.ddlPath.map(quoteIdentifier).join(', ')}`)

  return Object.freeze({
    transactional: true,

    async ensure() {
      await ensureSchema(query, place, rights)
      return ensureLedger(query, place)
    },

    async applied() {
      return (await query<LedgerRow>(`select hash, name, created_at from ${ledger} order by id`)).map(ledgerEntry)
    },

    async run(statement: string) {
      if (place.locks?.(statement) === true) {
        await query('select pg_advisory_xact_lock(hashtextextended($1, 0))', ['fastify-tenancy:references'])
      }
      await query(statement)
    },

    async record({ hash, createdAt, name }) {
      await query(`insert into ${ledger} (hash, created_at, name) values ($1, $2, $3)`, [hash, createdAt, name])
    },

    seal: place.seal,
  } satisfies NamespaceSession)
}

/** Waits for everyone else who makes, migrates or destroys the same. Released with the transaction. */
export async function lockNamespace(query: Query, { namespace }: Scope, { schema, own }: Layout): Promise<void> {
  // The shared schema first, and by all in this order.
  for (const name of own ? [namespace] : [schema, namespace]) {
    await query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`fastify-tenancy:${name}`])
  }
}

/** What row policies need to know of the shared schema. */
export function sharedSchemaOf({ schema }: Layout, { servingRole, shared }: NamespaceRights): SharedSchema {
  return { schema, column: shared.tenantColumn, internal: [LEDGER, ROW_KEYS], role: servingRole ?? null }
}

/** The full name of the ledger, quoted. */
export function ledgerOf({ schema, naming }: Layout): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(naming.prefix + LEDGER)}`
}

/** What the schema of a layout is marked with, so that one made by somebody else is never taken for it. */
export function schemaMark(scope: Scope, { own }: Layout): string {
  return own ? tenantMark(scope) : `fastify-tenancy shared ${scope.strategy}`
}

/** What a schema is marked with; undefined when there is no such schema. */
export async function markOf(query: Query, schema: string): Promise<string | null | undefined> {
  const [found] = await query<{ mark: string | null }>(
    `select pg_catalog.obj_description(oid, 'pg_namespace') as mark from pg_catalog.pg_namespace where nspname = $1`,
    [schema],
  )
  return found?.mark
}

async function ensureSchema(query: Query, { layout, mark, grants }: Place, rights: NamespaceRights): Promise<void> {
  const found = await markOf(query, layout.schema)
  const { servingRole } = rights
  if (found === mark) return
  if (found !== undefined) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [layout.schema])
  const schema = quoteIdentifier(layout.schema)
  await query(`create schema ${schema}`)
  await query(`comment on schema ${schema} is ${quoteLiteral(mark)}`)
  if (servingRole === undefined) return
  for (const grant of grants.later(layout.schema, servingRole)) await query(grant)
}

/** Makes the ledger; true when it was not there. It is out of reach of those who serve. */
async function ensureLedger(query: Query, { layout, ledgerMark }: Place): Promise<boolean> {
  const { prefix } = layout.naming
  const [found] = await query<{ mark: string | null; exists: boolean; others: boolean }>(
    `select pg_catalog.to_regclass($1) is not null as exists,
       pg_catalog.obj_description(pg_catalog.to_regclass($1), 'pg_class') as mark,
       $3 <> '' and exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname = $2 and pg_catalog.starts_with(c.relname::text, $3)) as others`,
    [ledgerOf(layout), layout.schema, prefix],
  )
  if (found?.exists === true && found.mark === ledgerMark) return false
  if (found?.exists === true || found?.others === true) {
    throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [prefix === '' ? layout.schema : prefix.slice(0, -2)])
  }
  const ledger = ledgerOf(layout)
  await query(
    `create table ${ledger} (id serial primary key, hash text not null unique, created_at bigint, name text, applied_at timestamptz default now())`,
  )
  await query(`comment on table ${ledger} is ${quoteLiteral(ledgerMark)}`)
  const sequence = ledgerSequence(layout)
  const others = await query<{ role: string }>(
    `select distinct r.rolname::text as role from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a, pg_catalog.pg_roles r
     where c.oid in ($1::regclass, $2::regclass) and r.oid = a.grantee and r.oid <> c.relowner`,
    [ledger, sequence],
  )
  for (const { role } of others) await query(`revoke all on ${ledger}, ${sequence} from ${quoteIdentifier(role)}`)
  return true
}

/** The full name of the ledger's sequence, quoted. */
export function ledgerSequence({ schema, naming }: Layout): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(`${naming.prefix}${LEDGER}_id_seq`)}`
}
