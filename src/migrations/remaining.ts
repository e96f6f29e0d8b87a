import { createHash } from 'node:crypto'
import type { LedgerEntry, Migration, MigrationProgress } from '../contracts/migrator.ts'
import { tenancyError } from '../errors.ts'

/** A migration of which something is still to run. */
export interface Remaining {
  /** How many of its statements ran before. */
  readonly done: number
  /** The row of what ran before, where there is one. */
  readonly entry?: LedgerEntry
}

/** Says of each migration what is still to run; `undefined` when nothing is. */
export type RemainingOf = (migration: Migration) => Remaining | undefined

/** All hashes by which a ledger may know a migration. */
export function hashesOf({ hash, otherHashes = [] }: Migration): readonly string[] {
  return [hash, ...otherHashes]
}

/** What a ledger says after the first `done` statements of a migration. Line endings and space around a statement do not count. */
export function progressOf({ statements }: Migration, done: number): MigrationProgress {
  const ran = statements.slice(0, done).map((text) => text.trim().replace(/\r\n?/g, '\n'))
  return { statements: done, hash: createHash('sha256').update(JSON.stringify(ran)).digest('hex') }
}

/**
 * Compares a folder with a ledger. A migration is known by its hash. One whose hash is not known, and that is in the ledger under another,
 * was changed: it never runs again, and goes on only after statements that are as they ran.
 * @returns what throws TENANCY_ERR_MIGRATION_CHANGED
 */
export function compareWith(ledger: readonly LedgerEntry[], migrations: readonly Migration[]): RemainingOf {
  const byHash = new Map(ledger.map((entry) => [entry.hash, entry]))
  const names = new Set(migrations.map(({ name }) => name))
  const hashes = new Set(migrations.flatMap(hashesOf))
  /** Rows of no migration in the folder, unless it got another name: as by `drizzle-kit up`. */
  const left = ledger.filter(({ hash, name }) => !hashes.has(hash) && (name === null || !names.has(name)))

  return (migration) => {
    const found = hashesOf(migration).flatMap((hash) => byHash.get(hash) ?? [])
    if (found.some(({ progress }) => progress === undefined)) return undefined
    const same = [
      ...found,
      ...ledger.filter(({ name }) => name === migration.name),
      ...left.filter(({ createdAt }) => isTimeOf(migration, createdAt)),
    ]
    const [entry] = same
    if (same.some(({ progress }) => progress === undefined)) throw changed(migration)
    if (entry?.progress === undefined) return { done: 0 }
    const { statements: done, hash } = entry.progress
    if (found.length === 0 && progressOf(migration, done).hash !== hash) throw changed(migration, entry.progress)
    return { done, entry }
  }
}

/** Drizzle 0.45 knows migrations by their time; that of 1.0 has whole seconds. */
function isTimeOf({ createdAt }: Migration, time: number | null): boolean {
  return time !== null && (time === createdAt || time - (time % 1000) === createdAt)
}

function changed({ file }: Migration, progress?: MigrationProgress): Error {
  const [when, remedy] =
    progress === undefined
      ? ['it was applied', 'it back as it was, and what is to change into a new migration']
      : progress.hash === null
        ? [
            `its first ${progress.statements} statements ran`,
            'it back as it was and run it once more, so that these are known; then mend what follows them',
          ]
        : [
            `its first ${progress.statements} statements ran, and one of these is another now`,
            'these back as they were; what follows them may be mended',
          ]
  return tenancyError('TENANCY_ERR_MIGRATION_CHANGED', [file, when, remedy])
}
