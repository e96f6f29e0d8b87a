import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import type { NamespaceSession } from '../../contracts/migrator.ts'
import type { SharedTables } from '../../contracts/shared-tables.ts'
import { tenancyError } from '../../errors.ts'
import { ledgerEntry, type LedgerRow } from '../ledger-row.ts'
import { tenantName } from '../../sql/scoped-text.ts'
import { grantRows } from './grants.ts'
import { type Layout, layoutOf, type SharedSchemas } from './layout.ts'
import { markOfSchema, markOfTable, markSchema, markTable, schemaMark, tenantMark } from './marks.ts'
import { objectsOf } from './objects.ts'
import { mssqlProfile } from './profile.ts'
import { protect } from './rls/protect.ts'
import { releaseDropped } from './rls/release-dropped.ts'
import { claimRowKey } from './rls/row-keys.ts'
import { lockReferences, refuseMisuse } from './shared/misuse.ts'

/** Named like Drizzle's own journal table. */
export const LEDGER = '__drizzle_migrations'

/** What {@link openNamespaceSession} needs of the server. */
export interface NamespaceRights {
  /** The serving user of the database. Absent when the admin login serves too. */
  readonly servingUser: string | undefined
  readonly shared: SharedSchemas
  /** Tables that all tenants use. */
  readonly sharedTables?: SharedTables | undefined
}

type Query = AdminConnection['query']

/** A place for tables with a ledger of its own. */
export interface Place {
  readonly layout: Layout
  /** What the schema is marked with, so that one made by somebody else is never taken for it. Absent where its database is. */
  readonly mark: string | undefined
  /** The same for the ledger. */
  readonly ledgerMark: string
  /** What errors call it. */
  readonly name: string
  /** What must be done before a statement. */
  before(statement: string): Promise<void>
  seal(): Promise<void>
}

/** Opens one namespace inside a running transaction of the admin login, in the database that it is in, under its lock. */
export function openNamespaceSession(query: Query, scope: Scope, rights: NamespaceRights): NamespaceSession {
  const layout = layoutOf(scope, rights.shared)
  const shared = scope.strategy === 'rls'
  const { sharedTables } = rights
  return openPlace(query, {
    layout,
    mark: layout.database === undefined ? schemaMark(scope, layout) : undefined,
    ledgerMark: layout.naming.prefix === '' ? schemaMark(scope, layout) : tenantMark(scope),
    name: scope.namespace,
    async before(statement) {
      // A table with a policy cannot be dropped.
      if (shared) await releaseDropped(query, layout, statement)
      if (sharedTables !== undefined) await lockReferences(query, statement, sharedTables)
    },
    async seal() {
      if (shared) {
        await protect(query, { layout, column: rights.shared.tenantColumn, ledger: LEDGER })
        if (!(await claimRowKey(query, layout, scope))) throw tenancyError('TENANCY_ERR_TENANT_EXISTS')
      }
      if (sharedTables !== undefined) await refuseMisuse(query, layout, sharedTables)
      await grantRows(query, layout, rights.servingUser, ledgerName(layout))
    },
  })
}

/** Opens a place, for who has its lock. */
export function openPlace(query: Query, place: Place): NamespaceSession {
  const ledger = tenantName(LEDGER, place.layout.ddlNaming, mssqlProfile)
  return Object.freeze({
    transactional: true,

    async ensure() {
      await ensureSchema(query, place)
      return ensureLedger(query, place, ledger)
    },

    async applied() {
      return (await query<LedgerRow>(`select hash, name, created_at from ${ledger} order by id`)).map(ledgerEntry)
    },

    async run(statement) {
      await place.before(statement)
      await query(statement)
    },

    async record({ hash, createdAt, name }) {
      await query(`insert into ${ledger} (hash, created_at, name) values (@p0, @p1, @p2)`, [hash, createdAt, name])
    },

    seal: place.seal,
  } satisfies NamespaceSession)
}

/** The ledger's own name. */
export function ledgerName({ naming: { prefix } }: Layout): string {
  return prefix + LEDGER
}

async function ensureSchema(query: Query, { layout: { schema }, mark }: Place): Promise<void> {
  if (mark === undefined) return
  const found = await markOfSchema(query, schema)
  if (found === mark) return
  if (found !== undefined) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [schema])
  await query(`create schema ${mssqlProfile.quoteName(schema)}`)
  await markSchema(query, schema, mark)
}

/** Makes the ledger; true when it was not there. It is out of reach of the serving user. */
async function ensureLedger(query: Query, { layout, ledgerMark, name }: Place, ledger: string): Promise<boolean> {
  const found = await markOfTable(query, layout.schema, ledgerName(layout))
  if (found === ledgerMark) return false
  const taken = layout.naming.prefix !== '' && (await objectsOf(query, layout)).length > 0
  if (found !== undefined || taken) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [name])
  await query(
    `create table ${ledger} (id int identity primary key, hash nvarchar(255) not null, created_at bigint,
      name nvarchar(max), applied_at datetime2 not null default sysutcdatetime())`,
  )
  await markTable(query, layout.schema, ledgerName(layout), ledgerMark)
  return true
}
