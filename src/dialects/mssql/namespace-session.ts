import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import type { NamespaceSession } from '../../contracts/migrator.ts'
import { tenancyError } from '../../errors.ts'
import { tenantName } from '../../sql/scoped-text.ts'
import { grantRows } from './grants.ts'
import { type Layout, layoutOf, type SharedSchemas } from './layout.ts'
import { markOfSchema, markOfTable, markSchema, markTable, schemaMark, tenantMark } from './marks.ts'
import { objectsOf } from './objects.ts'
import { mssqlProfile } from './profile.ts'
import { protect } from './rls/protect.ts'
import { releaseDropped } from './rls/release-dropped.ts'

/** Named like Drizzle's own journal table. */
const LEDGER = '__drizzle_migrations'

/** What {@link openNamespaceSession} needs of the server. */
export interface NamespaceRights {
  /** The serving user of the database. Absent when the admin login serves too. */
  readonly servingUser: string | undefined
  readonly shared: SharedSchemas
}

type Query = AdminConnection['query']

/** Opens one namespace inside a running transaction of the admin login, in the database that it is in, under its lock. */
export function openNamespaceSession(query: Query, scope: Scope, rights: NamespaceRights): NamespaceSession {
  const layout = layoutOf(scope, rights.shared)
  const ledger = tenantName(LEDGER, layout.ddlNaming, mssqlProfile)
  const shared = scope.strategy === 'rls'

  return Object.freeze({
    transactional: true,

    async ensure() {
      await ensureSchema(query, scope, layout)
      return ensureLedger(query, scope, layout, ledger)
    },

    async applied() {
      const rows = await query<{ hash: string }>(`select hash from ${ledger}`)
      return new Map(rows.map(({ hash }) => [hash, Number.POSITIVE_INFINITY]))
    },

    async run(statement) {
      // A table with a policy cannot be dropped.
      if (shared) await releaseDropped(query, layout, statement)
      await query(statement)
    },

    async record({ hash, createdAt, name }) {
      await query(`insert into ${ledger} (hash, created_at, name) values (@p0, @p1, @p2)`, [hash, createdAt, name])
    },

    async seal() {
      if (shared) await protect(query, { layout, column: rights.shared.tenantColumn, ledger: LEDGER })
      await grantRows(query, layout, rights.servingUser, ledgerName(layout))
    },
  } satisfies NamespaceSession)
}

/** The ledger's own name. */
export function ledgerName({ naming: { prefix } }: Layout): string {
  return prefix + LEDGER
}

async function ensureSchema(query: Query, scope: Scope, layout: Layout): Promise<void> {
  // The database itself is marked.
  if (layout.database !== undefined) return
  const mark = schemaMark(scope, layout)
  const found = await markOfSchema(query, layout.schema)
  if (found === mark) return
  if (found !== undefined) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [layout.schema])
  await query(`create schema ${mssqlProfile.quoteName(layout.schema)}`)
  await markSchema(query, layout.schema, mark)
}

/** Makes the ledger; true when it was not there. It is out of reach of the serving user. */
async function ensureLedger(query: Query, scope: Scope, layout: Layout, ledger: string): Promise<boolean> {
  const mark = layout.naming.prefix === '' ? schemaMark(scope, layout) : tenantMark(scope)
  const found = await markOfTable(query, layout.schema, ledgerName(layout))
  if (found === mark) return false
  const taken = layout.naming.prefix !== '' && (await objectsOf(query, layout)).length > 0
  if (found !== undefined || taken) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
  await query(
    `create table ${ledger} (id int identity primary key, hash nvarchar(255) not null, created_at bigint,
      name nvarchar(max), applied_at datetime2 not null default sysutcdatetime())`,
  )
  await markTable(query, layout.schema, ledgerName(layout), mark)
  return true
}
