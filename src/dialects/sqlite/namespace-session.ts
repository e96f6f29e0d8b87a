import type { Scope } from '../../contracts/isolation.ts'
import type { NamespaceSession } from '../../contracts/migrator.ts'
import { tenancyError } from '../../errors.ts'
import { ledgerEntry, type LedgerRow } from '../ledger-row.ts'
import type { Layout } from './layout.ts'
import { createLedger, FIND_LEDGER, isMarkedFor, ledgerName } from './ledger.ts'
import { sqliteProfile } from './profile.ts'

/** What a namespace is worked on with: one open transaction, with foreign keys off. */
export interface NamespaceTransaction {
  query<TRow>(text: string, parameters?: readonly unknown[]): Promise<TRow[]>
  /** One or more statements without parameters. */
  run(text: string): Promise<void>
}

/** An object of a namespace, as the catalogue has it. */
export interface NamespaceObject {
  readonly name: string
  readonly type: 'table' | 'view' | 'index' | 'trigger'
}

/** Opens one namespace inside a transaction that holds the file's write lock. */
export function openNamespaceSession(
  { query, run }: NamespaceTransaction,
  scope: Scope,
  layout: Layout,
): NamespaceSession {
  const ledger = sqliteProfile.quoteName(ledgerName(layout))

  return Object.freeze({
    transactional: true,

    async ensure() {
      if (await isOwn(query, scope, layout)) return false
      await run(createLedger(scope, layout))
      return true
    },

    async applied() {
      return (await query<LedgerRow>(`select hash, name, created_at from ${ledger} order by id`)).map(ledgerEntry)
    },

    run,

    async record({ hash, createdAt, name }) {
      await query(`insert into ${ledger} (hash, created_at, name) values (?, ?, ?)`, [hash, createdAt, name])
    },

    // Foreign keys were off, as the rebuilding of a table needs it.
    async seal() {
      for (const { name, type } of await objectsOf(query, layout)) {
        if (type !== 'table') continue
        const broken = await query(`pragma foreign_key_check(${sqliteProfile.quoteName(name)})`)
        if (broken.length === 0) continue
        throw tenancyError('TENANCY_ERR_MIGRATION_FAILED', [
          'of this run',
          'the last',
          `${broken.length} rows of ${name} refer to rows that are not there`,
        ])
      }
    },
  } satisfies NamespaceSession)
}

/**
 * True when the namespace is there and this tenant's, false when there is nothing at all.
 * @throws TENANCY_ERR_NAMESPACE_EXISTS when it is somebody else's
 */
export async function isOwn(query: NamespaceTransaction['query'], scope: Scope, layout: Layout): Promise<boolean> {
  const [found] = await query<{ sql: string }>(FIND_LEDGER, [ledgerName(layout)])
  if (found !== undefined && isMarkedFor(scope, found.sql)) return true
  // A file without objects is what a crash left of a run that had not committed.
  if (found === undefined && (await objectsOf(query, layout)).length === 0) return false
  throw tenancyError('TENANCY_ERR_NAMESPACE_EXISTS', [scope.namespace])
}

/** All objects of a namespace, without those that SQLite makes and drops with a table. */
export function objectsOf(query: NamespaceTransaction['query'], { naming }: Layout): Promise<NamespaceObject[]> {
  // Not LIKE, to which `_` is any character. Names are compared without case, as SQLite does.
  return query<NamespaceObject>(
    `select name, type from sqlite_schema where lower(substr(name, 1, ?)) = ? and lower(substr(name, 1, 7)) <> 'sqlite_'`,
    [naming.prefix.length, naming.prefix],
  )
}
