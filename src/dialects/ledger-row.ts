import type { LedgerEntry } from '../contracts/migrator.ts'

/** What drivers give for a row of a ledger; big integers come as numbers, strings or bigints. */
export interface LedgerRow {
  readonly hash: string
  readonly name: string | null
  readonly created_at: unknown
  /** How many statements ran, where a migration can be left half done; null for all. */
  readonly statements?: number | null
  readonly statements_hash?: string | null
}

/** A row of a ledger, as the runner compares it. */
export function ledgerEntry({ hash, name, created_at, statements, statements_hash }: LedgerRow): LedgerEntry {
  const entry = { hash, name, createdAt: created_at === null ? null : Number(created_at) }
  return typeof statements === 'number' ? { ...entry, progress: { statements, hash: statements_hash ?? null } } : entry
}
