import type { SQL } from 'drizzle-orm'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { IsolationStrategy } from '../../src/contracts/isolation.ts'
import type { SharedTables } from '../../src/contracts/shared-tables.ts'
import type { Db, Runner } from '../matrix/cell.ts'
import type { pgModel } from './models.ts'

/** Plans that all tenants read, tags that all write, and subscriptions of each. */
export type SharedModel = ReturnType<typeof pgModel>

/** One strategy on one database, opened with shared tables. */
export interface OpenSharedCell {
  readonly server: DatabaseServer
  readonly model: SharedModel
  readonly sharedStatements: readonly string[]
  readonly statements: readonly string[]
  /** Of a tenant: a key to a writable table by which a delete would go on. */
  readonly cascading: string
  /** Of a tenant: a table `mine`. */
  readonly ownTable: string
  /** Of a tenant: the rename of `mine` to the name of a shared table, where it is not SQL's own. */
  readonly rename?: string
  drizzle(client: object): Db
  rows(db: Runner, query: SQL): Promise<readonly Record<string, unknown>[]>
  /** One more server on the same database, opened, as another process would be. */
  another(options?: { sharedTables?: Partial<SharedTables> }): Promise<DatabaseServer>
  /** Statements past all guards, as whoever owns the database. */
  asOwner(...statements: readonly string[]): Promise<readonly Record<string, unknown>[]>
  /** The serving account, as GRANT names it, where tests need it. */
  readonly account?: string
  /** The owner's own way in, where there is a server. */
  readonly url?: string
  close(): Promise<void>
}

/** One strategy on one database. */
export interface SharedCell {
  readonly name: string
  readonly strategy: IsolationStrategy
  /** Where transactions are synchronous calls. */
  readonly synchronous?: true
  /** Tests that cannot be run here, by their titles, and why. */
  readonly skipped?: Readonly<Record<string, string>>
  /** What a tenant must not do to `plans`, spelled with its full name. */
  readonly attacks: readonly string[]
  /** The full name of `plans`, as SQL spells it. */
  full(name: string): string
  open(): Promise<OpenSharedCell>
}

/** The tables as the configuration names them. */
export const sharedTables: SharedTables = {
  schema: 'shared',
  names: ['plans', 'tags'],
  writable: ['tags'],
  tenantColumn: 'tenant_id',
}
