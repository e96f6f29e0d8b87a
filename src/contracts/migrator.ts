/** One migration of the user's Drizzle folder, in either format. */
export interface Migration {
  /** Tag (drizzle-kit 0.31) or folder name (1.0). */
  readonly name: string
  /** Path of the SQL file, as errors name it. */
  readonly file: string
  /** SHA-256 of the file, equal to the one in Drizzle's own journal. */
  readonly hash: string
  /** Milliseconds since 1970, as in Drizzle's own journal. */
  readonly createdAt: number
  /** The file split at drizzle's statement breakpoints; blank ones are left out. */
  readonly statements: readonly string[]
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

/**
 * One namespace under its lock, inside one transaction of the admin connection: it all lands or nothing does. Statements
 * run with unqualified names meaning this namespace.
 */
export interface NamespaceSession {
  /**
   * Makes the namespace with the grants of the serving role, or finds it made earlier for this same tenant.
   * @returns true when it was made now
   * @throws TENANCY_ERR_NAMESPACE_EXISTS when it exists and is not this tenant's
   */
  ensure(): Promise<boolean>
  /** Hashes in the namespace's ledger. */
  applied(): Promise<ReadonlySet<string>>
  /** Runs one rewritten DDL statement. */
  run(statement: string): Promise<void>
  /** Writes the ledger row of a migration. */
  record(migration: Migration): Promise<void>
}

/** Thrown by a DDL rewriter for what it does not understand or must not let through; the runner adds file and position. */
export class DdlRefusal extends Error {
  override readonly name = 'DdlRefusal'
}
