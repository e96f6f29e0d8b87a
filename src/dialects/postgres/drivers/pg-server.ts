import type { AdminConnection, DatabaseServer, Guard, PoolStats } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import type { StrategyName } from '../../../contracts/tenant.ts'
import { tenancyError } from '../../../errors.ts'
import { createTextScoper } from '../../../sql/scoped-text.ts'
import { loadPeer } from '../../../util/load-peer.ts'
import { adminOption, reach } from '../../../util/reach.ts'
import { type Baseline, checkBaseline, refuseBypass } from '../baseline.ts'
import { adoptedStrategies, serverCapabilities } from '../capabilities.ts'
import { databaseWarnings } from '../database-rights.ts'
import type { AdoptionRights } from '../adopt-schema.ts'
import { openAdoptingSession } from '../adopting-session.ts'
import { inspectDatabase } from '../doctor/inspect-database.ts'
import { destroyNamespace, releaseNamespace } from '../destroy-namespace.ts'
import { type Layout, layoutOf, type LayoutOptions, sharedPath, writtenStrategies } from '../layout.ts'
import { postgresProfile } from '../profile.ts'
import { createDdlParser } from '../rewrite-ddl.ts'
import { scopeSql } from '../scope-sql.ts'
import { assertQuiet, assertWall, beginsWith, hidesNames } from '../session-rights.ts'
import { sharedNamespace } from '../shared/namespace.ts'
import { type DatabaseAccess, dropDatabase, inDatabase } from '../tenant-database.ts'
import { verifyScope } from '../verify/verify-scope.ts'
import { connectPgChanges } from './pg-change-connection.ts'
import { lazyTransaction } from './pg-lazy-transaction.ts'
import { ScopeNames } from './pg-named-scope.ts'
import { assertCleanBinds } from './pg-clean-binds.ts'
import { type ConnectionSource, type EndablePool, openPool } from './pg-pool.ts'
import {
  connectionScope,
  scopedQueries,
  type ScopedQueries,
  silentScope,
  type WireScope,
  wireScope,
} from './pg-scoped-query.ts'
import type { TenantSession } from './pg-tenant-client.ts'
import { openTenantDatabases, type TenantDatabases } from './pg-tenant-databases.ts'
import { withStartupPath } from './pg-startup-path.ts'
import { tenantPool } from './pg-tenant-pool.ts'
import type { PgModule, PgPool } from './pg-types.ts'
import { inTransaction, queryOn, sharesSessions, underLock } from './pg-unscoped.ts'
import { REGISTRY_PATIENCE_MS, unscopedPool } from './pg-unscoped-pool.ts'

/** Options of {@link createPgServer}. */
export interface PgServerOptions {
  /** Serves tenants; may go through PgBouncer in transaction mode. */
  readonly url: string
  /** DDL, the registry; never through a pooler. */
  readonly adminUrl: string
  /** Whether `url` leads through a pooler in transaction mode. */
  readonly pooled: boolean
  /** Connections kept open; more are closed when idle. */
  readonly poolSize: number
  readonly maxOverflow: number
  /** Seconds a statement may wait for a connection. */
  readonly poolTimeout: number
  /** Seconds after which a connection is replaced. */
  readonly poolRecycle: number
  /** Connections to all databases that tenants have to themselves, together. Default 20. */
  readonly maxTenantConnections?: number
  /** Connections to the database of one tenant. Default 5. */
  readonly tenantPoolSize?: number
  /** What a tenant's own database is copied from. Default `template0`. */
  readonly databaseTemplate?: string
  /** Seconds after which `close()` cuts the connections that are still in use. Default 10. */
  readonly closeTimeout?: number
  /** What may be asked of this server; row-level security has conditions of its own. */
  readonly strategies: readonly StrategyName[]
  readonly registrySchema: string
  /** The schemas that tenants share. */
  readonly shared: LayoutOptions
  /** Tables that all tenants use. Default none. */
  readonly sharedTables?: SharedTables | undefined
  /** Told every statement of a tenant, without its parameters. */
  readonly onStatement: ((text: string) => void) | undefined
}

/** Connections for DDL and what else the admin does. Some wait long for the lock of a namespace. */
const ADMIN_POOL_SIZE = 5
/** Connections of the registry, which a cold request waits for: of its own, or migrations would keep it from the registry. */
const REGISTRY_POOL_SIZE = 3
/** Connections for news of the registry: one, and others for a moment where it does not answer. */
const NEWS_POOL_SIZE = 3
/** Milliseconds after which a statement for news fails, with its connection. */
const NEWS_PATIENCE_MS = 2000

interface Opened {
  readonly shared: EndablePool
  readonly admin: EndablePool
  /** Connects to nothing where there is no registry. */
  readonly registry: EndablePool
  readonly news: EndablePool
  readonly databases: TenantDatabases
  readonly queries: ScopedQueries
  readonly drizzle: (options: { client: object }) => unknown
}

/** PostgreSQL through node-postgres. Nothing is opened before `open()`; pg itself is loaded there. */
export function createPgServer(options: PgServerOptions): DatabaseServer {
  let opened: Opened | undefined
  let servingRole: string | undefined
  /** Whether connections to tenants' databases begin with the tenant's path, so that none is sent. */
  let begins = false
  /** Names for the scope statements on the shared pool, where tenants cannot read them. */
  let names: ScopeNames | undefined
  const scopeText = createTextScoper(postgresProfile)
  const patienceMs = (options.closeTimeout ?? 10) * 1000
  let closing: Promise<PromiseSettledResult<void>[]> | undefined
  const parts = (): Opened => {
    if (opened === undefined) throw tenancyError('TENANCY_ERR_NOT_STARTED')
    return opened
  }
  const session = (scope: Scope, guard: Guard): TenantSession => {
    const { queries } = parts()
    const layout = layoutOf(scope, options.shared)
    return Object.freeze({
      queries,
      scope: silentScopeOf(scope, options, begins) ?? sentScope(scope, layout),
      scopeText: scopeText(layout.naming),
      guard,
      pooled: options.pooled,
      sharesTables: scope.strategy === 'rls',
      onStatement: options.onStatement,
    })
  }
  const sentScope = (scope: Scope, layout: Layout): WireScope =>
    wireScope(parts().shared.pg, scopeSql(scope, layout), scope.strategy === 'database' ? undefined : names)
  const sourceOf = ({ strategy, namespace }: Scope, path = begins): ConnectionSource => {
    const { databases, shared } = parts()
    if (strategy !== 'database') return shared
    return path ? databases.serving(namespace) : databases.bare(namespace)
  }
  const rights = (): AdoptionRights => ({
    registrySchema: options.registrySchema,
    servingRole,
    shared: options.shared,
    sharedTables: options.sharedTables,
  })
  const access = (): DatabaseAccess => ({
    underLock: (lock, work) => underLock(parts().admin, lock, work),
    inside: (database, work) => inTransaction(parts().databases.admin(database), work),
    forget: (database) => parts().databases.forget(database),
    rights: rights(),
    template: options.databaseTemplate ?? 'template0',
  })
  const admin: AdminConnection = Object.freeze({
    get client() {
      return unscopedPool(parts().admin.pool)
    },
    query: <TRow>(text: string, parameters?: readonly unknown[]) => queryOn(parts().admin)<TRow>(text, parameters),
    transaction: <T>(work: (query: AdminConnection['query']) => Promise<T>) => inTransaction(parts().admin, work),
  })

  const registry = (pool: 'registry' | 'news', patienceMs: number): AdminConnection =>
    Object.freeze({
      get client() {
        return unscopedPool(parts()[pool].pool, patienceMs)
      },
      query: <TRow>(text: string, parameters?: readonly unknown[]) =>
        queryOn(parts()[pool], patienceMs)<TRow>(text, parameters),
      transaction: <T>(work: (query: AdminConnection['query']) => Promise<T>) => inTransaction(parts()[pool], work),
    })

  const confined = {
    client: (scope: Scope, guard: Guard) => tenantPool(sourceOf(scope), session(scope, guard)),
    lazyTransaction: (scope: Scope, guard: Guard) =>
      lazyTransaction(sourceOf(scope), session(scope, guard), options.poolTimeout * 1000),
  }

  return Object.freeze({
    capabilities: serverCapabilities,
    textScoped: writtenStrategies(options.shared),
    adopts: adoptedStrategies,
    admin,
    shared: options.sharedTables && sharedNamespace(options.sharedTables, admin.transaction, rights),
    registry: Object.freeze({
      dialect: 'postgres',
      connection: registry('registry', REGISTRY_PATIENCE_MS),
      news: registry('news', NEWS_PATIENCE_MS),
      listen: (channelQuery: string) =>
        connectPgChanges(() => parts().admin.pg, { url: options.adminUrl, channelQuery }),
    }),

    async open() {
      const ready = opened ?? (await load(options))
      try {
        const administering = await reach(adminOption(options), sessionOf(ready.admin))
        assertSameDatabase(await reach('databaseUrl', sessionOf(ready.shared)), administering)
        const adminRole = administering.role
        const baseline = await checkBaseline(queryOn(ready.shared), {
          registrySchema: options.registrySchema,
          extensionsSchema: options.shared.extensionsSchema,
          rlsSchema: options.shared.rlsSchema,
          adminRole,
        })
        if (options.strategies.includes('rls')) refuseBypass(baseline)
        const { extensionsSchema, tenantRoles = false } = options.shared
        const shown = tenantRoles
          ? await assertWall(queryOn(ready.shared), baseline, { adminRole, extensionsSchema })
          : isQualified(options)
            ? await assertQuiet(queryOn(ready.shared), sharedPath(options.shared))
            : []
        // A scope that is sent makes a transaction, which keeps DROP DATABASE out where a role that is too strong serves.
        const silent = options.strategies.includes('database') && baseline.bypasses.length === 0
        begins = silent && (await takesStartupPath(ready.shared.pg, options))
        names =
          !options.pooled && (await hidesNames(queryOn(ready.shared))) ? new ScopeNames(ready.shared.pg) : undefined
        servingRole = baseline.role === adminRole ? undefined : baseline.role
        opened = ready
        const breaches = [...shown, ...breachesOf(baseline)]
        return options.strategies.includes('database')
          ? [...breaches, ...(await databaseWarnings(admin.query, access()))]
          : breaches
      } catch (error) {
        if (opened === undefined) await endAll(ready, 0)
        throw error
      }
    },

    ...confined,
    forget: (scope: Scope) => opened?.databases.forget(scope.namespace),
    drizzleImport: 'drizzle-orm/node-postgres',
    drizzleSession: 'NodePgSession',
    drizzle: (client: object) => parts().drizzle({ client }),

    inNamespace: (scope, work) =>
      scope.strategy === 'database'
        ? inDatabase(access(), scope, work)
        : inTransaction(parts().admin, async (query) => work(await openAdoptingSession(query, scope, rights()))),
    destroy: (scope) =>
      scope.strategy === 'database' ? dropDatabase(access(), scope) : destroyNamespace(admin, scope, rights()),
    release: (scope) => releaseNamespace(admin, scope, rights()),
    verify: (scope) =>
      verifyScope({
        server: { admin, ...confined },
        scope,
        shared: options.shared,
        role: servingRole ?? null,
        inside: scope.strategy === 'database' ? (work) => access().inside(scope.namespace, work) : admin.transaction,
        unscoped: (work) => inTransaction(sourceOf(scope, false), work),
      }),
    inspect: async () =>
      inspectDatabase({
        ...options,
        admin: admin.query,
        serving: queryOn(parts().shared),
        adminRole: (await sessionOf(parts().admin)).role,
        databaseWarnings: () => databaseWarnings(admin.query, access()),
        hiddenPooler: async () => {
          if (options.pooled) return false
          return options.poolSize + options.maxOverflow > 1 ? sharesSessions(parts().shared) : undefined
        },
      }),
    parseDdl: createDdlParser(options.shared, options.sharedTables),

    async ping() {
      await queryOn(parts().shared, REGISTRY_PATIENCE_MS)('select 1')
    },
    stats(): Readonly<Record<string, PoolStats>> {
      if (opened === undefined) return {}
      const { shared, databases } = opened
      const stats = {
        serving: statsOf(shared.pool),
        admin: statsOf(opened.admin.pool),
        registry: statsOf(opened.registry.pool),
        news: statsOf(opened.news.pool),
      }
      return options.strategies.includes('database') ? { ...stats, tenants: databases.stats() } : stats
    },
    async close() {
      if (opened === undefined) return
      closing ??= endAll(opened, patienceMs)
      for (const result of await closing) if (result.status === 'rejected') throw result.reason
    },
  } satisfies DatabaseServer)
}

async function load(options: PgServerOptions): Promise<Opened> {
  const pg = await loadPeer('pg', async () => (await import('pg')).default as unknown as PgModule)
  assertCleanBinds(pg)
  const { drizzle } = await loadPeer('drizzle-orm', () => import('drizzle-orm/node-postgres'))
  const timeoutMs = options.poolTimeout * 1000
  const maxLifetimeSeconds = options.poolRecycle
  const open = (connectionString: string, min: number, max: number): EndablePool =>
    openPool(pg, timeoutMs, { connectionString, min, max, maxLifetimeSeconds })
  const openRegistry = (max: number): EndablePool =>
    openPool(pg, timeoutMs, {
      connectionString: options.adminUrl,
      max,
      maxLifetimeSeconds,
      // Drizzle takes its connections from the pool itself, past the timed checkout.
      connectionTimeoutMillis: timeoutMs,
    })
  return Object.freeze({
    shared: open(servingUrl(options), options.poolSize, options.poolSize + options.maxOverflow),
    admin: open(options.adminUrl, 0, ADMIN_POOL_SIZE),
    registry: openRegistry(REGISTRY_POOL_SIZE),
    news: openRegistry(NEWS_POOL_SIZE),
    databases: openTenantDatabases(pg, {
      url: options.url,
      adminUrl: options.adminUrl,
      path: (namespace) => layoutOf({ strategy: 'database', namespace }, options.shared).searchPath,
      maxConnections: options.maxTenantConnections ?? 20,
      perTenant: options.tenantPoolSize ?? 5,
      timeoutMs,
      maxLifetimeSeconds,
    }),
    queries: scopedQueries(pg),
    drizzle: drizzle as unknown as Opened['drizzle'],
  })
}

function isQualified({ shared }: Pick<PgServerOptions, 'shared'>): boolean {
  return shared.schemaScoping === 'qualified'
}

/** Under `qualified` every connection begins with the path that all tenants share. No tenant can change what it begins with. */
function servingUrl(options: PgServerOptions): string {
  return isQualified(options) ? withStartupPath(options.url, sharedPath(options.shared)) : options.url
}

/** The scope where nothing need be sent; `begins`: connections to databases of tenants begin with the tenant's path. */
function silentScopeOf(
  { strategy, namespace, settings }: Scope,
  options: PgServerOptions,
  begins: boolean,
): WireScope | undefined {
  if (Object.keys(settings).length > 0) return undefined
  if (strategy === 'schema' && isQualified(options)) return silentScope
  return strategy === 'database' && begins ? connectionScope(namespace) : undefined
}

/**
 * Whether connections begin with the path that we ask for. A pooler refuses that or swallows it: then the path is sent with every
 * statement.
 */
async function takesStartupPath(
  pg: PgModule,
  { url, pooled, poolTimeout, poolRecycle, shared }: PgServerOptions,
): Promise<boolean> {
  if (pooled) return false
  const path = sharedPath(shared)
  const pool = openPool(pg, poolTimeout * 1000, {
    connectionString: withStartupPath(url, path),
    max: 1,
    maxLifetimeSeconds: poolRecycle,
  })
  try {
    return await beginsWith(queryOn(pool), path)
  } catch {
    return false
  } finally {
    await pool.end(0)
  }
}

function endAll(
  { shared, admin, registry, news, databases }: Opened,
  patienceMs: number,
): Promise<PromiseSettledResult<void>[]> {
  return Promise.allSettled([shared, admin, registry, news, databases].map((pool) => pool.end(patienceMs)))
}

const CURE = 'Run the SQL of `fastify-tenancy roles`, and serve with the role that it makes.'

function breachesOf({ role, breaches }: Baseline): string[] {
  return breaches.map((breach, at) => {
    const cure = at < breaches.length - 1 ? '' : ` ${CURE}`
    return `Baseline rule: without a scope the serving role ${JSON.stringify(role)} must reach nothing, but ${breach}.${cure}`
  })
}

interface Session {
  readonly role: string
  readonly database: string
  /** When the server itself started: the same by whatever way it is reached, and different on any two. */
  readonly started: string
}

async function sessionOf(pool: ConnectionSource): Promise<Session> {
  const text = `select current_user::text as role, pg_catalog.current_database()::text as database,
    extract(epoch from pg_catalog.pg_postmaster_start_time())::text as started`
  const [session] = await queryOn(pool, REGISTRY_PATIENCE_MS)<Session>(text)
  return session ?? { role: '', database: '', started: '' }
}

/** Two databases would mean: tenants are made in one and looked for in the other. */
function assertSameDatabase(serving: Session, admin: Session): void {
  if (serving.database === admin.database && serving.started === admin.started) return
  const elsewhere =
    serving.database === admin.database ? 'one of the same name on another server' : `"${admin.database}"`
  throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
    `- databaseUrl leads to the database "${serving.database}", adminDatabaseUrl to ${elsewhere}. Use one database, two roles.`,
  ])
}

function statsOf({ totalCount, idleCount, waitingCount }: PgPool) {
  return { total: totalCount, idle: idleCount, waiting: waitingCount }
}
