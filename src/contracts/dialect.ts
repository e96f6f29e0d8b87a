import type { ConnectChannel } from './changes.ts'
import type { Capabilities, Scope } from './isolation.ts'
import type { DdlTemplate, NamespaceSession } from './migrator.ts'
import type { SharedNamespace } from './shared-tables.ts'
import type { StrategyName } from './tenant.ts'
import type { Inspection, VerifyReport } from './verification.ts'

/**
 * Throws when a handle must not be used. Called without I/O when a statement is handed over, in the context of the caller,
 * and again with `send` where it had to wait for a connection: by then the context may be anybody's.
 */
export type Guard = (moment?: 'send') => void

/** Connections of one pool. */
export interface PoolStats {
  readonly total: number
  readonly idle: number
  readonly waiting: number
}

/** A transaction that opens at its first statement. */
export interface LazyTransaction {
  /** Driver-shaped, confined to the scope; nested transactions are savepoints. */
  readonly client: object
  /** Commits if a statement opened it. @throws TENANCY_ERR_TRANSACTION_ROLLED_BACK */
  commit(): Promise<void>
  /** Rolls back if it is open. Idempotent; never throws. */
  rollback(): Promise<void>
}

/** What a {@link DatabaseServer.destroy} removed. */
export interface DestroyReport {
  /** Tables, views, schemas and the like; 0 for a tenant whose tables are shared. */
  readonly objects: number
  /** Rows, where tables are shared; 0 where the tables went with them. */
  readonly rows: number
}

/** The unscoped way in, with the admin rights: DDL, the registry. Never handed to tenant code. */
export interface AdminConnection {
  /** Driver-shaped, for Drizzle. */
  readonly client: object
  query<TRow>(text: string, parameters?: readonly unknown[]): Promise<TRow[]>
  /** One transaction; `query` inside it runs on its connection. */
  transaction<T>(work: (query: AdminConnection['query']) => Promise<T>): Promise<T>
}

/** The ways of speaking SQL that the registry of tenants knows. */
export type RegistryDialect = 'postgres' | 'mysql' | 'mssql' | 'sqlite'

/** Where the registry of tenants is: with the admin rights, and out of reach of every tenant's session. */
export interface RegistryHome {
  readonly dialect: RegistryDialect
  readonly connection: AdminConnection
  /**
   * A way of its own for news of the registry: look-ups, which anybody can ask for, may fill `connection`. What has no answer
   * after a while fails. Absent where nobody waits long for `connection`.
   */
  readonly news?: AdminConnection
  /** Listens to the channel of the database that a query gives as `channel`, where it has any. It has to be open. */
  readonly listen?: (channelQuery: string) => ConnectChannel
  /** True where no other process can write it while this one runs. */
  readonly exclusive?: true
}

/**
 * One database server, opened for one process: mechanics, no policy. Turns a {@link Scope} into a client that cannot step
 * outside it.
 */
export interface DatabaseServer {
  readonly capabilities: Capabilities
  /** Strategies that write the tenant's names into the text: the user's tables must be adopted for them. */
  readonly textScoped: ReadonlySet<StrategyName>
  /** Strategies of which a namespace that exists can become a tenant's. Absent where none can. */
  readonly adopts?: ReadonlySet<StrategyName> | undefined
  /**
   * Connects and verifies the baseline rule. Retryable after a failure.
   * @returns warnings for the log
   * @throws TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_PEER_MISSING
   */
  open(): Promise<readonly string[]>
  readonly admin: AdminConnection
  /** The tables that all tenants use. Absent where none are configured, or where the database has no place for them. */
  readonly shared?: SharedNamespace | undefined
  readonly registry: RegistryHome
  /** A driver-shaped client for `drizzle({ client })`. No I/O; takes a connection per statement or transaction. */
  client(scope: Scope, guard: Guard): object
  /** One transaction for several statements of a request. */
  lazyTransaction(scope: Scope, guard: Guard): LazyTransaction
  /** Closes what is kept open for this scope alone: now, or when it is no longer used. Absent where nothing is. */
  forget?(scope: Scope): void
  /** Where the user's `drizzle` function for these clients comes from: `drizzle-orm/…`. */
  readonly drizzleImport: string
  /** What that `drizzle` calls its session (Drizzle's `entityKind`): one of another driver would speak to `client` in another way. */
  readonly drizzleSession: string
  /**
   * True where statements and the callbacks of transactions are synchronous calls: nothing that is open can be waited for, so
   * `lazyTransaction` throws TENANCY_ERR_STATEMENT_REFUSED.
   */
  readonly synchronous?: true | undefined
  /** The driver's own Drizzle factory without a schema. */
  drizzle(client: object): unknown
  /**
   * Runs `work` on one namespace under its lock. When `work` throws, what it made is undone: by the database where DDL is
   * transactional, else by removing the namespace if this very call made it.
   */
  inNamespace<T>(scope: Scope, work: (session: NamespaceSession) => Promise<T>): Promise<T>
  /**
   * Removes what belongs to this scope and to nobody else, under the namespace's lock, and verifies that nothing is left.
   * Idempotent: what is gone already counts as zero. A namespace that is not this tenant's is not touched.
   * @throws TENANCY_ERR_NAMESPACE_EXISTS when the namespace is somebody else's, TENANCY_ERR_DESTROY_INCOMPLETE
   */
  destroy(scope: Scope): Promise<DestroyReport>
  /**
   * Gives back what was reserved beside the tables for a tenant that was never served and is forgotten, such as its row key, and
   * touches no table and no row. Idempotent. Absent where nothing is reserved.
   */
  release?(scope: Scope): Promise<void>
  /**
   * Finds out whether the tenant of a scope is kept apart: what the catalogue says, and what happens when its own tenant,
   * another one and nobody try to reach a canary of it over the serving connection. Leaves nothing behind. `ok: false` means
   * that it is not kept apart; not to find out is an error.
   * @throws TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_POOL_TIMEOUT, and what the database answers unexpectedly
   */
  verify(scope: Scope): Promise<VerifyReport>
  /** Looks at everything that tenants share, by the rules of docs/doctor.md. Changes nothing. */
  inspect(): Promise<Inspection>
  /** Reads one statement of the user's migrations. @throws DdlRefusal for what cannot be confined to a namespace */
  parseDdl(statement: string): DdlTemplate
  ping(): Promise<void>
  stats(): Readonly<Record<string, PoolStats>>
  close(): Promise<void>
}
