import { currentContext, enterContext } from '../../../context.ts'
import { createKeyedPool } from '../../../connections/keyed-pool.ts'
import type { PoolStats } from '../../../contracts/dialect.ts'
import { isTenancyError } from '../../../errors.ts'
import { checkoutFailure } from '../failure.ts'
import { watchingClient } from './pg-client.ts'
import { withStartupPath } from './pg-startup-path.ts'
import { type ConnectionSource, LIVELY, type Ready } from './pg-pool.ts'
import type { PgClient, PgModule, PgSingleClient } from './pg-types.ts'

/** Options of {@link openTenantDatabases}. */
export interface TenantDatabasesOptions {
  /** As for the main database; only the name of the database is replaced. */
  readonly url: string
  readonly adminUrl: string
  /** What serving connections to a database begin with. */
  readonly path: (database: string) => readonly string[]
  /** Connections to all tenants' databases together. */
  readonly maxConnections: number
  /** Connections to the database of one tenant, for each of the two roles. */
  readonly perTenant: number
  /** Milliseconds a checkout may wait. */
  readonly timeoutMs: number
  readonly maxLifetimeSeconds: number
}

/** Connections to the databases that tenants have to themselves, under one budget. */
export interface TenantDatabases {
  /** With the serving role, on the tenant's path: the connection is the scope. */
  serving(database: string): ConnectionSource
  /** With the serving role as it is: for who sends a scope, or looks what there is without one. */
  bare(database: string): ConnectionSource
  /** With the admin role; its connections are rarely needed, and closed after use. */
  admin(database: string): ConnectionSource
  /** Closes what is open to a database: now, or when it comes back. */
  forget(database: string): void
  end(patienceMs: number): Promise<void>
  stats(): PoolStats
}

/** How long a connection stays without use. */
const IDLE_MS = 30_000

/** How long the other side may take to say goodbye; then the socket is cut, or its place would be lost. */
const GOODBYE_MS = 4000

/** Opens nothing before the first checkout. */
export function openTenantDatabases(pg: PgModule, options: TenantDatabasesOptions): TenantDatabases {
  const Client = watchingClient(pg)
  // The URL is the key: two roles of one database are two keys.
  const pool = createKeyedPool<PgSingleClient>({
    open: (url) => enterContext(undefined, () => connect(url)),
    close,
    budget: options.maxConnections,
    perKey: options.perTenant,
    timeoutMs: options.timeoutMs,
    idleMs: IDLE_MS,
    maxLifetimeMs: options.maxLifetimeSeconds * 1000,
  })

  async function connect(url: string): Promise<PgSingleClient> {
    const client = new Client({ connectionString: url, ...LIVELY })
    // For as long as it lives: without a listener a backend that dies while nobody uses it would end the process.
    client.on('error', () => pool.lost(client))
    client.on('end', () => pool.lost(client))
    try {
      await client.connect()
    } catch (error) {
      await close(client)
      throw error
    }
    return client
  }
  const source = (url: string, keep: boolean): ConnectionSource =>
    Object.freeze({
      pg,
      checkout(ready: Ready) {
        const context = currentContext()
        const settle = (failure: Error | undefined, client?: PgSingleClient) => {
          if (client === undefined) ready(isTenancyError(failure) ? failure : checkoutFailure(failure))
          else ready(undefined, lend(client, keep))
        }
        enterContext(undefined, () =>
          pool.acquire(url, (failure, client) => enterContext(context, () => settle(failure, client))),
        )
      },
    })
  const lend = (client: PgSingleClient, keep: boolean): PgClient => {
    let released = false
    client.release = (error) => {
      if (released) return
      released = true
      pool.release(client, !keep || Boolean(error) || client.altered === true)
    }
    return client
  }

  const bare = (database: string) => withDatabase(options.url, database)
  const serving = (database: string) => withStartupPath(bare(database), options.path(database))
  const admin = (database: string) => withDatabase(options.adminUrl, database)

  return Object.freeze({
    serving: (database: string) => source(serving(database), true),
    bare: (database: string) => source(bare(database), true),
    admin: (database: string) => source(admin(database), false),
    forget(database: string) {
      for (const url of [serving, bare, admin]) pool.drop(url(database))
    },
    end: (patienceMs: number) => pool.end(patienceMs),
    stats: () => pool.stats(),
  } satisfies TenantDatabases)
}

async function close(client: PgSingleClient): Promise<void> {
  const impatience = setTimeout(() => client.connection.stream.destroy(), GOODBYE_MS)
  try {
    await client.end()
  } finally {
    clearTimeout(impatience)
  }
}

/** `url` with another database. Its password holds no `/`, `?` or `#`: the configuration refuses such a URL. */
export function withDatabase(url: string, database: string): string {
  return url.replace(/^([a-z]+:\/\/[^/?#]*)(?:\/[^?#]*)?/, `$1/${encodeURIComponent(database)}`)
}
