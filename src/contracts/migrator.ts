import type { Scope } from './isolation.ts'

/** One migration of the user's Drizzle folder, in either format. */
export interface Migration {
  /** Tag (drizzle-kit 0.31) or folder name (1.0). */
  readonly name: string
  /** Path of the SQL file, as errors name it. */
  readonly file: string
  /** SHA-256 of the file with LF as line ending, equal to the one in Drizzle's own journal for such a file. */
  readonly hash: string
  /** The same with other line endings, as a ledger or Drizzle's own journal may have it. Default none. */
  readonly otherHashes?: readonly string[]
  /** Milliseconds since 1970, as in Drizzle's own journal. */
  readonly createdAt: number
  /** The file split at drizzle's statement breakpoints; blank ones are left out. */
  readonly statements: readonly string[]
}

/** A namespace that exists and is to become a tenant's. */
export interface Adoption {
  /** Its name now: a schema. It gets the generated name of the tenant's. */
  readonly namespace: string
  /**
   * Name of the last migration that is in it already: of its folder, or its tag. For a namespace that has no journal of Drizzle
   * (`__drizzle_migrations`) in it; where it has one, that says it.
   */
  readonly baseline?: string
}

/** What a migration run did. */
export interface MigrationReport {
  /** True when this run made the namespace. */
  readonly created: boolean
  /** Names applied by this run, in order. */
  readonly applied: readonly string[]
  /** How many had been applied before. */
  readonly skipped: number
}

/** A statement of a migration, read once and written for each namespace. */
export interface DdlTemplate {
  /** The statement as it must be sent; empty when there is nothing to run. @throws DdlRefusal */
  render(scope: Scope): string
}

/** A row of a namespace's ledger. */
export interface LedgerEntry {
  readonly hash: string
  /** Null where somebody else wrote it. */
  readonly name: string | null
  /** Milliseconds since 1970. */
  readonly createdAt: number | null
  /** What ran of it; absent when all did. */
  readonly progress?: MigrationProgress
}

/** How far a migration came whose statements are final once they ran. */
export interface MigrationProgress {
  /** How many of its statements ran. */
  readonly statements: number
  /** Hash of these statements; null where an earlier version counted them and no more. */
  readonly hash: string | null
}

/** One namespace under its lock, on the admin connection. */
export interface NamespaceSession {
  /** True where a failure undoes everything of this session; false where each statement is final once it ran. */
  readonly transactional: boolean
  /** Makes what exists the namespace. Absent where that cannot be done. */
  readonly adoption?: AdoptionSession
  /**
   * Makes the namespace with the grants of the serving role, or finds it made earlier for this same tenant.
   * @returns true when it was made now
   * @throws TENANCY_ERR_NAMESPACE_EXISTS when it exists and is not this tenant's
   */
  ensure(): Promise<boolean>
  /** The rows of the namespace's ledger, in the order in which they were written. */
  applied(): Promise<readonly LedgerEntry[]>
  /** Runs one rendered DDL statement. */
  run(statement: string): Promise<void>
  /**
   * Runs a statement and what records it: rows are changed and that is known, or neither. Only DDL, which commits itself, can be done and
   * not be known. Absent where `transactional`.
   */
  together?(work: () => Promise<void>): Promise<void>
  /** Writes the ledger row of a migration that came so far; without `progress`, of a complete one. */
  record(migration: Migration, progress?: MigrationProgress): Promise<void>
  /** Gives the row of an unfinished migration, found by its hash, to the mended one. Absent where `transactional`. */
  replace?(hash: string, mended: Migration): Promise<void>
  /** After the migrations: makes what they left true for the strategy, such as a policy on every table. Idempotent. */
  seal(): Promise<void>
}

/**
 * How what exists becomes a namespace, in steps that the namespace itself remembers: whoever comes after a crash, knowing or not what was
 * begun, finds it there. Until the last of them `ensure()` refuses the namespace to all others.
 */
export interface AdoptionSession {
  /** Before there is a tenant: makes the namespace, empty, as the place of what is to come. */
  announce(): Promise<void>
  /**
   * Before `ensure()`: makes what exists under this name the namespace, with nobody's rights in it but the owner's; those of the serving
   * role, and the proof that nobody else has any, come with `seal()`.
   * @returns the hashes in Drizzle's own journal, which is taken out; undefined where there is none; `before` when it was done before
   * @throws TENANCY_ERR_ADOPTION_REFUSED; TENANCY_ERR_TENANT_NOT_FOUND when it was given up, or never announced
   */
  adopt(name: string): Promise<readonly string[] | 'before' | undefined>
  /** Once what was adopted is known to be apart: it is a namespace like any other. @throws TENANCY_ERR_ADOPTION_REFUSED */
  accept(): Promise<void>
  /**
   * From here on nobody can adopt for this tenant, which may be forgotten. Idempotent.
   * @returns false when nobody was going to, or somebody has: then the tenant must not be forgotten
   */
  giveUp(): Promise<boolean>
  /** Removes the place of what was given up, once the tenant is forgotten. Idempotent. */
  clear(): Promise<void>
}

/** Thrown by a DDL rewriter for what it does not understand or must not let through; the runner adds file and position. */
export class DdlRefusal extends Error {
  override readonly name = 'DdlRefusal'
}
