import type { AdminConnection, DatabaseServer, Guard, PoolStats } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { StrategyName } from '../../../contracts/tenant.ts'
import { tenancyError } from '../../../errors.ts'
import { createTextScoper } from '../../../sql/scoped-text.ts'
import { loadPeer } from '../../../util/load-peer.ts'
import { checkBaseline, refuseBypass } from '../baseline.ts'
import { capabilities, textScoped } from '../capabilities.ts'
import { destroyNamespace } from '../destroy-namespace.ts'
import { statementFailure } from '../failure.ts'
import { layoutOf, type SharedSchemas } from '../layout.ts'
import { openNamespaceSession } from '../namespace-session.ts'
import { postgresProfile } from '../profile.ts'
import { createDdlParser } from '../rewrite-ddl.ts'
import { scopeSql } from '../scope-sql.ts'
import { lazyTransaction } from './pg-lazy-transaction.ts'
import { checkout, type EndablePool, openPool, type SharedPool } from './pg-pool.ts'
import { scopedQueries, type ScopedQueries, wireScope } from './pg-scoped-query.ts'
import type { TenantSession } from './pg-tenant-client.ts'
import { tenantPool } from './pg-tenant-pool.ts'
import type { PgClient, PgModule, PgPool, PgResult } from './pg-types.ts'

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
  /** Seconds after which `close()` cuts the connections that are still in use. Default 10. */
  readonly closeTimeout?: number
  /** What may be asked of this server; row-level security has conditions of its own. */
  readonly strategies: readonly StrategyName[]
  readonly registrySchema: string
  /** The schemas that tenants share. */
  readonly shared: SharedSchemas
  /** Told every statement of a tenant, without its parameters. */
  readonly onStatement: ((text: string) => void) | undefined
}

/** Connections for DDL and the registry. Few: a warm request needs none. */
const ADMIN_POOL_SIZE = 5

interface Opened {
  readonly shared: SharedPool & EndablePool
  readonly admin: SharedPool & EndablePool
  readonly queries: ScopedQueries
  readonly drizzle: (options: { client: object }) => unknown
}

/** PostgreSQL through node-postgres. Nothing is opened before `open()`; pg itself is loaded there. */
export function createPgServer(options: PgServerOptions): DatabaseServer {
  let opened: Opened | undefined
  let servingRole: string | undefined
  const scopeText = createTextScoper(postgresProfile)
  const patienceMs = (options.closeTimeout ?? 10) * 1000
  let closing: Promise<PromiseSettledResult<void>[]> | undefined
  const parts = (): Opened => {
    if (opened === undefined) throw tenancyError('TENANCY_ERR_NOT_STARTED')
    return opened
  }
  const session = (scope: Scope, guard: Guard): TenantSession => {
    const { shared, queries } = parts()
    const layout = layoutOf(scope, options.shared)
    return Object.freeze({
      queries,
      scope: wireScope(shared.pg, scopeSql(scope, layout)),
      scopeText: (text: string) => scopeText(text, layout.naming),
      guard,
      pooled: options.pooled,
      onStatement: options.onStatement,
    })
  }
  const admin: AdminConnection = Object.freeze({
    get client() {
      return parts().admin.pool
    },
    query: <TRow>(text: string, parameters?: readonly unknown[]) =>
      withClient(parts().admin, queryOn)<TRow>(text, parameters),
    transaction: <T>(work: (query: AdminConnection['query']) => Promise<T>) => inTransaction(parts().admin, work),
  })

  return Object.freeze({
    capabilities,
    textScoped,
    admin,

    async open() {
      const ready = opened ?? (await load(options))
      try {
        const administering = await sessionOf(ready.admin)
        assertSameDatabase(await sessionOf(ready.shared), administering)
        const adminRole = administering.role
        const baseline = await checkBaseline(withClient(ready.shared, queryOn), {
          registrySchema: options.registrySchema,
          extensionsSchema: options.shared.extensionsSchema,
          adminRole,
        })
        if (options.strategies.includes('rls')) refuseBypass(baseline)
        servingRole = baseline.role === adminRole ? undefined : baseline.role
        opened = ready
        return baseline.breaches.map(
          (breach) =>
            `Baseline rule: without a scope the serving role ${JSON.stringify(baseline.role)} must reach nothing, but ${breach}.`,
        )
      } catch (error) {
        if (opened === undefined) await Promise.allSettled([ready.shared.end(0), ready.admin.end(0)])
        throw error
      }
    },

    client: (scope: Scope, guard: Guard) => tenantPool(parts().shared, session(scope, guard)),
    lazyTransaction: (scope: Scope, guard: Guard) => lazyTransaction(parts().shared, session(scope, guard)),
    drizzle: (client: object) => parts().drizzle({ client }),

    inNamespace: (scope, work) =>
      inTransaction(parts().admin, async (query) =>
        work(await openNamespaceSession(query, scope, { servingRole, shared: options.shared })),
      ),
    destroy: (scope) => destroyNamespace(admin, scope, { servingRole, shared: options.shared }),
    parseDdl: createDdlParser(options.shared),

    async ping() {
      await withClient(parts().shared, queryOn)('select 1')
    },
    stats(): Readonly<Record<string, PoolStats>> {
      return opened === undefined ? {} : { serving: statsOf(opened.shared.pool), admin: statsOf(opened.admin.pool) }
    },
    async close() {
      if (opened === undefined) return
      closing ??= Promise.allSettled([opened.shared.end(patienceMs), opened.admin.end(patienceMs)])
      for (const result of await closing) if (result.status === 'rejected') throw result.reason
    },
  } satisfies DatabaseServer)
}

async function load(options: PgServerOptions): Promise<Opened> {
  const pg = await loadPeer('pg', async () => (await import('pg')).default as unknown as PgModule)
  const { drizzle } = await loadPeer('drizzle-orm', () => import('drizzle-orm/node-postgres'))
  const timeoutMs = options.poolTimeout * 1000
  const open = (connectionString: string, min: number, max: number): SharedPool & EndablePool => {
    const { pool, end } = openPool(pg, {
      connectionString,
      min,
      max,
      maxLifetimeSeconds: options.poolRecycle,
    })
    return Object.freeze({ pg, pool, end, timeoutMs })
  }
  return Object.freeze({
    shared: open(options.url, options.poolSize, options.poolSize + options.maxOverflow),
    admin: open(options.adminUrl, 0, ADMIN_POOL_SIZE),
    queries: scopedQueries(pg),
    drizzle: drizzle as unknown as Opened['drizzle'],
  })
}

interface Session {
  readonly role: string
  readonly database: string
}

async function sessionOf(pool: SharedPool): Promise<Session> {
  const text = 'select current_user::text as role, pg_catalog.current_database()::text as database'
  const [session] = await withClient(pool, queryOn)<Session>(text)
  return session ?? { role: '', database: '' }
}

/** Two databases would mean: tenants are made in one and looked for in the other. */
function assertSameDatabase(serving: Session, admin: Session): void {
  if (serving.database === admin.database) return
  throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
    `- databaseUrl leads to the database "${serving.database}", adminDatabaseUrl to "${admin.database}". Use one database, two roles.`,
  ])
}

function queryOn(client: PgClient): AdminConnection['query'] {
  return async <TRow>(text: string, parameters: readonly unknown[] = []) => {
    try {
      // Without parameters the simple protocol, which takes a migration of several statements.
      const result: PgResult | PgResult[] =
        parameters.length > 0 ? await client.query(text, parameters) : await client.query(text)
      return (Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows) as TRow[]
    } catch (error) {
      throw statementFailure(error)
    }
  }
}

/** Runs one call on a connection of its own. */
function withClient(pool: SharedPool, make: (client: PgClient) => AdminConnection['query']): AdminConnection['query'] {
  return async <TRow>(text: string, parameters?: readonly unknown[]) => {
    const client = await connect(pool)
    let failure: Error | undefined
    client.on('error', onError)
    try {
      return await make(client)<TRow>(text, parameters)
    } catch (error) {
      failure = error instanceof Error && 'statusCode' in error ? error : undefined
      throw error
    } finally {
      client.removeListener('error', onError)
      client.release(failure)
    }
  }
}

async function inTransaction<T>(pool: SharedPool, work: (query: AdminConnection['query']) => Promise<T>): Promise<T> {
  const client = await connect(pool)
  client.on('error', onError)
  try {
    const query = queryOn(client)
    await query('begin')
    const result = await work(query)
    await query('commit')
    return result
  } catch (error) {
    await client.query('rollback').catch(() => {})
    throw error
  } finally {
    client.removeListener('error', onError)
    client.release(client.getTransactionStatus() !== 'I')
  }
}

function connect(pool: SharedPool): Promise<PgClient> {
  return new Promise((resolve, reject) => {
    checkout(pool, (failure, client) => (client === undefined ? reject(failure) : resolve(client)))
  })
}

// The statement under way fails with the same error; this only keeps the process alive.
function onError(): void {}

function statsOf({ totalCount, idleCount, waitingCount }: PgPool) {
  return { total: totalCount, idle: idleCount, waiting: waitingCount }
}
