import type { AdminConnection } from '../../contracts/dialect.ts'
import type { Scope } from '../../contracts/isolation.ts'
import type { NamespaceSession } from '../../contracts/migrator.ts'
import type { SharedTables } from '../../contracts/shared-tables.ts'
import { tenancyError } from '../../errors.ts'
import { ledgerEntry, type LedgerRow } from '../ledger-row.ts'
import { prefixedName } from '../../sql/naming.ts'
import { tenantName } from '../../sql/scoped-text.ts'
import { grantRows } from './grants.ts'
import { type Layout, layoutOf } from './layout.ts'
import { databaseExists, dropObjects, isEmpty, objectsOf } from './objects.ts'
import { mysqlProfile } from './profile.ts'
import { quoteText } from './quote.ts'
import { refuseMisuse } from './shared/misuse.ts'

/** Named like Drizzle's own journal table. */
const LEDGER = '__drizzle_migrations'
/** Seconds to wait for whoever else works on a namespace; a migration may copy a large table. */
const LOCK_WAIT = 3600
/** Longest name of a lock. */
const LONGEST_LOCK = 64

/** What {@link openNamespaceSession} needs of the server. */
export interface NamespaceRights {
  /** The serving account as CURRENT_USER() tells it. Absent when the admin account serves too. */
  readonly servingAccount: string | undefined
  /** The database of prefixed tables. */
  readonly shared: string | undefined
  /** Tables that all tenants use. */
  readonly sharedTables?: SharedTables | undefined
}

type Query = AdminConnection['query']

/** A place for tables with a ledger of its own. */
export interface Place {
  readonly layout: Layout
  /** What the ledger is marked with, so that one made by somebody else is never taken for it. */
  readonly mark: string
  /** What errors call it. */
  readonly name: string
  /** Rights of the serving account, before the ledger is made. */
  grant(): Promise<void>
  seal(): Promise<void>
}

/** A session, and the way back. */
export interface OpenNamespace {
  readonly session: NamespaceSession
  /** Removes what `ensure` made; nothing that was there before. */
  undo(): Promise<void>
}

/** Runs `work` while nobody else makes, migrates or destroys the same. The lock is this connection's and dies with it. */
export async function locked<T>(
  query: Query,
  { namespace }: Pick<Scope, 'namespace'>,
  work: () => Promise<T>,
  waitSeconds = LOCK_WAIT,
): Promise<T> {
  const name = prefixedName('fastify-tenancy:', namespace, LONGEST_LOCK)
  const [answer] = await query<{ got: unknown }>('select get_lock(?, ?) as got', [name, waitSeconds])
  if (Number(answer?.got) !== 1) throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')
  try {
    return await work()
  } finally {
    await query('select release_lock(?)', [name])
  }
}

/** Opens one namespace, for who has its lock. */
export function openNamespaceSession(query: Query, scope: Scope, rights: NamespaceRights): OpenNamespace {
  const layout = layoutOf(scope, rights.shared)
  return openPlace(query, {
    layout,
    mark: tenantMark(scope),
    name: scope.namespace,
    grant: () => grantRows(query, layout, rights.servingAccount),
    async seal() {
      if (rights.sharedTables !== undefined) await refuseMisuse(query, layout, rights.sharedTables)
    },
  })
}

/** Opens a place, for who has its lock. Each statement of it is final once it ran: DDL commits. */
export function openPlace(query: Query, place: Place): OpenNamespace {
  const { layout } = place
  const ledger = tenantName(LEDGER, layout.naming, mysqlProfile)
  let madeDatabase = false
  let madeLedger = false
  let upgraded = false

  /** An earlier version made the ledger without the hash of what ran. */
  const upgradeLedger = async () => {
    if (upgraded || madeLedger) return
    const columns = await query(`show columns from ${ledger} where field = 'statements_hash'`)
    if (columns.length === 0) await query(`alter table ${ledger} add column statements_hash char(64)`)
    upgraded = true
  }

  const session = Object.freeze({
    transactional: false,

    async ensure() {
      if (await isMade(query, place)) {
        // Somebody may serve with another account than it was made for.
        await place.grant()
        return false
      }
      if (layout.own && !(await databaseExists(query, layout.database))) {
        await query(`create database ${mysqlProfile.quoteName(layout.database)} character set utf8mb4`)
        madeDatabase = true
      }
      await place.grant()
      // Last and in one statement with its mark: what a crash leaves before it is empty, and taken up again.
      await query(
        `create table ${ledger} (id bigint unsigned not null auto_increment primary key, hash varchar(255) not null unique,
          created_at bigint, name text, applied_at timestamp not null default current_timestamp, statements int,
          statements_hash char(64))
          engine = InnoDB character set utf8mb4 comment = ${quoteText(place.mark)}`,
      )
      madeLedger = true
      return true
    },

    async applied() {
      // All columns: an earlier version made the ledger without `statements_hash`.
      return (await query<LedgerRow>(`select * from ${ledger} order by id`)).map(ledgerEntry)
    },

    async run(statement) {
      await query(statement)
    },

    async together(work) {
      // Before: DDL would commit.
      await upgradeLedger()
      await query('begin')
      try {
        await work()
        await query('commit')
      } catch (error) {
        await query('rollback').catch(() => {})
        throw error
      }
    },

    async record({ hash, createdAt, name }, progress) {
      await upgradeLedger()
      // VALUES() is the form that MariaDB knows too.
      await query(
        `insert into ${ledger} (hash, created_at, name, statements, statements_hash) values (?, ?, ?, ?, ?)
         on duplicate key update statements = values(statements), statements_hash = values(statements_hash)`,
        [hash, createdAt, name, progress?.statements ?? null, progress?.hash ?? null],
      )
    },

    async replace(hash, mended) {
      await query(`update ${ledger} set hash = ?, created_at = ?, name = ? where hash = ?`, [
        mended.hash,
        mended.createdAt,
        mended.name,
        hash,
      ])
    },

    seal: place.seal,
  } satisfies NamespaceSession)

  const undo = async () => {
    if (madeLedger) await dropObjects(query, layout, await objectsOf(query, layout), ledgerName(layout))
    if (madeDatabase) await query(`drop database ${mysqlProfile.quoteName(layout.database)}`)
  }
  return { session, undo }
}

/** The ledger's own name. */
export function ledgerName({ naming: { prefix } }: Layout): string {
  return prefix + LEDGER
}

/** What the ledger of a tenant is marked with, as its comment: rows cannot change it. */
export function tenantMark({ tenantId }: Scope): string {
  return `fastify-tenancy tenant ${tenantId}`
}

/** The mark of the layout's ledger, if there is one. */
export async function markOf(query: Query, layout: Layout): Promise<string | undefined> {
  const [found] = await query<{ mark: string }>(
    'select table_comment as mark from information_schema.tables where table_schema = ? and table_name = ?',
    [layout.database, ledgerName(layout)],
  )
  return found?.mark
}

/**
 * True when the place was made for this purpose; false when there is nothing yet, or what a crash left empty.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS
 */
async function isMade(query: Query, { layout, mark: own, name }: Place): Promise<boolean> {
  if (layout.own && !(await databaseExists(query, layout.database))) return false
  const mark = await markOf(query, layout)
  if (mark === own) return true
  const left = layout.own ? !(await isEmpty(query, layout)) : (await objectsOf(query, layout)).length > 0
  if (mark !== undefined || left) throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [name])
  return false
}
