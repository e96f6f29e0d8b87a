// oxlint-disable-next-line typescript/triple-slash-reference -- it declares modules, and so cannot be one.
/// <reference path="./modules.d.ts" />
import type { AdminConnection, DatabaseServer, Guard, PoolStats } from '../../../contracts/dialect.ts'
import { type Scope, TENANT_SETTING } from '../../../contracts/isolation.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import type { StrategyName } from '../../../contracts/tenant.ts'
import { tenancyError } from '../../../errors.ts'
import { later } from '../../../connections/later.ts'
import { createTextScoper } from '../../../sql/scoped-text.ts'
import { loadPeer } from '../../../util/load-peer.ts'
import { adminOption, reach } from '../../../util/reach.ts'
import { checkBaseline } from '../baseline.ts'
import { capabilities, textScoped } from '../capabilities.ts'
import { destroyNamespace, detachNamespace, releaseNamespace } from '../destroy-namespace.ts'
import { inspectServer } from '../inspect-server.ts'
import { layoutOf, type SharedSchemas } from '../layout.ts'
import { locked } from '../lock.ts'
import { type NamespaceRights, openNamespaceSession } from '../namespace-session.ts'
import { createDdlParser } from '../parse-ddl.ts'
import { mssqlProfile } from '../profile.ts'
import { registryBreaches } from '../registry-rights.ts'
import { sharedNamespace } from '../shared/namespace.ts'
import { type DatabaseAccess, destroyDatabase, inDatabase } from '../tenant-database.ts'
import { verifyScope } from '../verify/verify-scope.ts'
import { adminConnection, inTransaction, onLease, queryOn } from './mssql-admin.ts'
import { lazyTransaction } from './mssql-lazy-transaction.ts'
import type { Lease } from './mssql-lease.ts'
import { openPool, type Pool } from './mssql-pool.ts'
import { asTenants } from './mssql-trial.ts'
import { tenantPool } from './mssql-tenant-pool.ts'
import type { TenantSession } from './mssql-tenant-session.ts'
import type { MssqlModule } from './mssql-types.ts'
import { parseMssqlUrl } from './mssql-url.ts'

/** Options of {@link createMssqlServer}. */
export interface MssqlServerOptions {
  /** Serves tenants. The database in its path is the one that every connection is in. */
  readonly url: string
  /** The same database with the rights for DDL. */
  readonly adminUrl: string
  /** Connections kept open; more are closed when idle. */
  readonly poolSize: number
  readonly maxOverflow: number
  /** Seconds a statement may wait for a connection. */
  readonly poolTimeout: number
  /** Seconds after which a connection is replaced. */
  readonly poolRecycle: number
  /** Seconds after which `close()` cuts the connections that are still in use. Default 10. */
  readonly closeTimeout?: number
  /** What may be asked of this server: with shared tables, the tenant travels with every statement. */
  readonly strategies: readonly StrategyName[]
  /** The schema of the registry, which no tenant may reach. */
  readonly registrySchema: string
  readonly shared: SharedSchemas
  /** Tables that all tenants use. Default none. */
  readonly sharedTables?: SharedTables | undefined
  /** Told every statement of a tenant, without its parameters. */
  readonly onStatement: ((text: string) => void) | undefined
}

/** Connections for DDL. Few: a warm request needs none. */
const ADMIN_POOL_SIZE = 5
/** Connections of the registry, which a cold request waits for: of its own, or migrations would keep it from the registry. */
const REGISTRY_POOL_SIZE = 3
/** Milliseconds after which a statement of the registry or for health fails, with its connection: it may hang until TCP gives up. */
const REGISTRY_PATIENCE_MS = 5000
/** Connections for news of the registry: one, and others for a moment where it does not answer. */
const NEWS_POOL_SIZE = 3
/** Milliseconds after which a statement for news fails, with its connection. */
const NEWS_PATIENCE_MS = 2000
/** Where drizzle-orm 0.45 has nothing. */
const DRIZZLE = 'drizzle-orm@1.0.0-rc.5'

interface Opened {
  readonly serving: Pool
  readonly adminPool: Pool
  readonly admin: AdminConnection
  readonly registryPool: Pool
  readonly registry: AdminConnection
  readonly newsPool: Pool
  readonly news: AdminConnection
  readonly mssql: MssqlModule
  readonly drizzle: (options: { client: object }) => unknown
}

type Query = AdminConnection['query']

/** SQL Server through mssql. Nothing is opened before `open()`; mssql itself is loaded there. */
export function createMssqlServer(options: MssqlServerOptions): DatabaseServer {
  let opened: Opened | undefined
  let serving: { readonly user: string; readonly login: string } | undefined
  let closing: Promise<unknown> | undefined
  const { shared, strategies } = options
  const patienceMs = (options.closeTimeout ?? 10) * 1000
  const main = parseMssqlUrl(options.url).database
  const scopeText = createTextScoper(mssqlProfile)
  const parts = (): Opened => {
    if (opened === undefined) throw tenancyError('TENANCY_ERR_NOT_STARTED')
    return opened
  }
  const session = (scope: Scope, guard: Guard): TenantSession => {
    const { naming } = layoutOf(scope, shared)
    // A tenant with names of its own, beside others that share tables, must not find what the last one of these left.
    const tenant = strategies.includes('rls')
      ? { value: scope.settings[TENANT_SETTING] ?? null, type: parts().mssql.NVarChar(36) }
      : undefined
    return Object.freeze({
      guard,
      scopeText: scopeText(naming),
      tenant,
      onStatement: options.onStatement,
    })
  }
  const admin = later(() => parts().admin)
  const rights = (): NamespaceRights => ({
    servingUser: serving?.user,
    shared,
    sharedTables: options.sharedTables,
  })
  /** Alone with a namespace, outside of transactions. */
  const alone = <T>(scope: Scope, work: (query: Query, lease: Lease) => Promise<T>) =>
    onLease(parts().adminPool, (lease) => {
      const query = queryOn(lease)
      return locked(query, scope, layoutOf(scope, shared), () => work(query, lease))
    })
  const access = (query: Query, lease: Lease): DatabaseAccess => ({
    query,
    use: (database) => lease.use(database),
    transaction: (work) => inTransaction(lease, work),
    main,
    servingLogin: serving?.login,
    rights: rights(),
  })

  const confined = {
    client: (scope: Scope, guard: Guard) => tenantPool(parts().serving, session(scope, guard)),
    lazyTransaction: (scope: Scope, guard: Guard) =>
      lazyTransaction(parts().serving, session(scope, guard), options.poolTimeout * 1000),
  }

  return Object.freeze({
    capabilities,
    textScoped,
    admin,
    registry: Object.freeze({
      dialect: 'mssql',
      connection: later(() => parts().registry),
      news: later(() => parts().news),
    }),
    shared:
      options.sharedTables &&
      sharedNamespace(options.sharedTables, {
        alone: (scope, work) => alone(scope, (query, lease) => inTransaction(lease, () => work(query))),
        servingUser: () => serving?.user,
      }),

    async open() {
      assertOneDatabase(options)
      const ready = opened ?? (await load(options))
      try {
        const admin = await reach(adminOption(options), loginOf(ready.adminPool))
        await reach('databaseUrl', loginOf(ready.serving))
        const serves = onLease(
          ready.serving,
          async (lease) =>
            [
              await checkBaseline(queryOn(lease), admin),
              await registryBreaches(queryOn(lease), options.registrySchema),
            ] as const,
        )
        const [found, reached] = await reach('databaseUrl', serves)
        if (strategies.includes('rls') && found.bypasses.length > 0) {
          throw tenancyError('TENANCY_ERR_RLS_BYPASSED', [found.login, `it ${found.bypasses[0]}`])
        }
        serving = found.login === admin ? undefined : found
        opened = ready
        const login = JSON.stringify(found.login)
        return [...found.breaches, ...reached].map(
          (breach) => `Baseline rule: without a scope the serving login ${login} must reach nothing, but ${breach}.`,
        )
      } catch (error) {
        if (opened === undefined) await endAll(ready, 0)
        throw error
      }
    },

    ...confined,
    drizzleImport: 'drizzle-orm/node-mssql',
    drizzleSession: 'NodeMsSqlSession',
    drizzle: (client: object) => parts().drizzle({ client }),

    inNamespace: (scope, work) =>
      alone(scope, (query, lease) => {
        if (scope.strategy === 'database') return inDatabase(access(query, lease), scope, work)
        return inTransaction(lease, () => work(openNamespaceSession(query, scope, rights())))
      }),
    destroy: (scope) =>
      alone(scope, async (query, lease) => {
        if (scope.strategy === 'database') return destroyDatabase(access(query, lease), scope)
        const destroy = () => destroyNamespace(query, scope, rights())
        // Rows of shared tables go in chunks, each final: one transaction of all would stand in everybody's way.
        if (scope.strategy === 'rls') return destroy()
        await detachNamespace(query, scope, rights())
        return inTransaction(lease, destroy)
      }),
    async release(scope) {
      if (scope.strategy !== 'rls') return
      await alone(scope, (query, lease) => inTransaction(lease, () => releaseNamespace(query, scope, rights())))
    },
    verify: async (scope) =>
      verifyScope({
        server: confined,
        scope,
        rights: rights(),
        adminLogin: await loginOf(parts().adminPool),
        registrySchema: options.registrySchema,
        main,
        administering: (work) =>
          onLease(parts().adminPool, (lease) =>
            work({ query: queryOn(lease), use: (database) => lease.use(database) }),
          ),
        unscoped: (work) => onLease(parts().serving, (lease) => inTransaction(lease, () => work(queryOn(lease)))),
        asTenants: (work) => asTenants(parts(), work),
      }),
    inspect: async () =>
      inspectServer({
        admin: admin.query,
        serving: (text, parameters) => onLease(parts().serving, (lease) => queryOn(lease)(text, parameters)),
        adminLogin: await loginOf(parts().adminPool),
        registrySchema: options.registrySchema,
        shared,
        sharedTables: options.sharedTables,
        strategies,
      }),
    parseDdl: createDdlParser(shared, options.sharedTables),

    async ping() {
      await onLease(parts().serving, (lease) => queryOn(lease, REGISTRY_PATIENCE_MS)('select 1 as one'))
    },
    stats(): Readonly<Record<string, PoolStats>> {
      if (opened === undefined) return {}
      const { serving, adminPool, registryPool, newsPool } = opened
      return {
        serving: serving.stats(),
        admin: adminPool.stats(),
        registry: registryPool.stats(),
        news: newsPool.stats(),
      }
    },
    async close() {
      if (opened === undefined) return
      closing ??= endAll(opened, patienceMs)
      await closing
    },
  } satisfies DatabaseServer)
}

async function loginOf(pool: Pool): Promise<string> {
  const text = 'select suser_sname() as login'
  const [row] = await onLease(pool, (lease) => queryOn(lease, REGISTRY_PATIENCE_MS)<{ login: string }>(text))
  return row?.login ?? ''
}

async function load(options: MssqlServerOptions): Promise<Opened> {
  const { drizzle } = await loadPeer(DRIZZLE, () => import('drizzle-orm/node-mssql'))
  const mssql = await loadPeer('mssql', async () => (await import('mssql')).default as MssqlModule)
  const open = (url: string, keep: number, max: number, abortOnError: boolean): Pool =>
    openPool(mssql, {
      address: parseMssqlUrl(url),
      keep,
      max,
      timeoutMs: options.poolTimeout * 1000,
      recycleMs: options.poolRecycle * 1000,
      abortOnError,
    })
  // What a failed statement of a migration did goes with the transaction, also when more of it would follow.
  const adminPool = open(options.adminUrl, ADMIN_POOL_SIZE, ADMIN_POOL_SIZE, true)
  const registryPool = open(options.adminUrl, 0, REGISTRY_POOL_SIZE, true)
  const newsPool = open(options.adminUrl, 0, NEWS_POOL_SIZE, true)
  return Object.freeze({
    // Savepoints need errors that undo their statement and nothing else.
    serving: open(options.url, options.poolSize, options.poolSize + options.maxOverflow, false),
    adminPool,
    admin: adminConnection(adminPool),
    registryPool,
    registry: adminConnection(registryPool, REGISTRY_PATIENCE_MS),
    newsPool,
    news: adminConnection(newsPool, NEWS_PATIENCE_MS),
    mssql,
    drizzle: drizzle as Opened['drizzle'],
  })
}

async function endAll({ serving, adminPool, registryPool, newsPool }: Opened, patienceMs: number): Promise<void> {
  await Promise.all([serving, adminPool, registryPool, newsPool].map((pool) => pool.end(patienceMs)))
}

/** Two databases would mean: tables are made in one and looked for in the other. */
function assertOneDatabase({ url, adminUrl }: MssqlServerOptions): void {
  const [serving, admin] = [parseMssqlUrl(url).database, parseMssqlUrl(adminUrl).database]
  if (serving === admin) return
  throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
    '- databaseUrl and adminDatabaseUrl lead to different databases. Use one database, two logins.',
  ])
}
