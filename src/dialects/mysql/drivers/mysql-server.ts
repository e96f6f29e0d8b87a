import type { AdminConnection, DatabaseServer, Guard, PoolStats } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { SharedTables } from '../../../contracts/shared-tables.ts'
import type { StrategyName } from '../../../contracts/tenant.ts'
import { tenancyError } from '../../../errors.ts'
import { later } from '../../../connections/later.ts'
import { createTextScoper } from '../../../sql/scoped-text.ts'
import { loadPeer } from '../../../util/load-peer.ts'
import { adminOption, reach } from '../../../util/reach.ts'
import { checkBaseline } from '../baseline.ts'
import { capabilities, textScoped } from '../capabilities.ts'
import { destroyNamespace } from '../destroy-namespace.ts'
import { inspectServer } from '../inspect-server.ts'
import { layoutOf } from '../layout.ts'
import { locked, openNamespaceSession } from '../namespace-session.ts'
import { createDdlParser } from '../parse-ddl.ts'
import { mysqlProfile } from '../profile.ts'
import { sharedNamespace } from '../shared/namespace.ts'
import { verifyScope } from '../verify/verify-scope.ts'
import { adminConnection, inTransaction, onLease, queryOn } from './mysql-admin.ts'
import { lazyTransaction } from './mysql-lazy-transaction.ts'
import { openPool, type Pool } from './mysql-pool.ts'
import type { TenantSession } from './mysql-tenant-connection.ts'
import { tenantPool } from './mysql-tenant-pool.ts'
import type { MysqlModule } from './mysql-types.ts'
import { parseMysqlUrl } from './mysql-url.ts'

/** Options of {@link createMysqlServer}. */
export interface MysqlServerOptions {
  /** Serves tenants. The database in its path is that of prefixed tables. */
  readonly url: string
  /** DDL. */
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
  /** The database of the registry, which no tenant may reach. */
  readonly registrySchema: string
  /** What may be asked of this server; prefixed tables need a database. */
  readonly strategies: readonly StrategyName[]
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

interface Opened {
  readonly serving: Pool
  readonly adminPool: Pool
  readonly admin: AdminConnection
  readonly registryPool: Pool
  readonly registry: AdminConnection
  readonly newsPool: Pool
  readonly news: AdminConnection
  readonly drizzle: (options: { client: object }) => unknown
}

/** MySQL and MariaDB through mysql2. Nothing is opened before `open()`; mysql2 itself is loaded there. */
export function createMysqlServer(options: MysqlServerOptions): DatabaseServer {
  let opened: Opened | undefined
  let servingAccount: string | undefined
  let closing: Promise<unknown> | undefined
  const patienceMs = (options.closeTimeout ?? 10) * 1000
  const shared = parseMysqlUrl(options.url).database
  const scopeText = createTextScoper(mysqlProfile)
  const parts = (): Opened => {
    if (opened === undefined) throw tenancyError('TENANCY_ERR_NOT_STARTED')
    return opened
  }
  const session = (scope: Scope, guard: Guard): TenantSession => {
    const { naming } = layoutOf(scope, shared)
    return Object.freeze({
      guard,
      scopeText: scopeText(naming),
      onStatement: options.onStatement,
    })
  }
  const admin = later(() => parts().admin)
  /** Alone with a namespace. */
  const alone = <T>(scope: Scope, work: (query: AdminConnection['query']) => Promise<T>) =>
    onLease(parts().adminPool, (lease) => {
      const query = queryOn(lease)
      return locked(query, scope, () => work(query))
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
      dialect: 'mysql',
      connection: later(() => parts().registry),
      news: later(() => parts().news),
    }),
    shared:
      options.sharedTables &&
      sharedNamespace(options.sharedTables, {
        alone,
        asServing: (text, parameters) => onLease(parts().serving, (lease) => queryOn(lease)(text, parameters)),
        servingAccount: () => servingAccount,
      }),

    async open() {
      assertDatabases(options)
      const ready = opened ?? (await load(options))
      try {
        const accounts = {
          serving: await reach('databaseUrl', accountOf(ready.serving)),
          admin: await reach(adminOption(options), accountOf(ready.adminPool)),
        }
        const breaches = await onLease(ready.serving, (lease) =>
          checkBaseline(queryOn(lease), accounts, options.registrySchema),
        )
        servingAccount = accounts.serving === accounts.admin ? undefined : accounts.serving
        opened = ready
        const account = JSON.stringify(accounts.serving)
        return breaches.map(
          (breach) =>
            `Baseline rule: without a scope the serving account ${account} must reach nothing, but ${breach}.`,
        )
      } catch (error) {
        if (opened === undefined) await endAll(ready, 0)
        throw error
      }
    },

    ...confined,
    drizzleImport: 'drizzle-orm/mysql2',
    drizzleSession: 'MySql2Session',
    drizzle: (client: object) => parts().drizzle({ client }),

    inNamespace: (scope, work) =>
      alone(scope, async (query) => {
        const { sharedTables } = options
        const namespace = openNamespaceSession(query, scope, { servingAccount, shared, sharedTables })
        try {
          return await work(namespace.session)
        } catch (error) {
          // Its own failure would hide why: the connection is gone then, mostly, and the namespace stays, marked.
          await namespace.undo().catch(() => {})
          throw error
        }
      }),
    destroy: (scope) => alone(scope, (query) => destroyNamespace(query, scope, { servingAccount, shared })),
    verify: async (scope) =>
      verifyScope({
        server: confined,
        scope,
        shared,
        sharedSchema: options.sharedTables?.schema,
        registrySchema: options.registrySchema,
        accounts: await accountsOf(parts()),
        administering: (work) => onLease(parts().adminPool, (lease) => work(queryOn(lease))),
        unscoped: (work) => inTransaction(parts().serving, work),
      }),
    inspect: async () =>
      inspectServer({
        admin: admin.query,
        serving: (text, parameters) => onLease(parts().serving, (lease) => queryOn(lease)(text, parameters)),
        accounts: await accountsOf(parts()),
        shared,
        registrySchema: options.registrySchema,
      }),
    parseDdl: createDdlParser(shared, options.sharedTables),

    async ping() {
      await onLease(parts().serving, (lease) => queryOn(lease, REGISTRY_PATIENCE_MS)('select 1'))
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

async function load(options: MysqlServerOptions): Promise<Opened> {
  const mysql = await loadPeer('mysql2', async () => (await import('mysql2')).default as unknown as MysqlModule)
  const { drizzle } = await loadPeer('drizzle-orm', () => import('drizzle-orm/mysql2'))
  const open = (url: string, keep: number, max: number): Pool =>
    openPool(mysql, {
      address: parseMysqlUrl(url).address,
      keep,
      max,
      timeoutMs: options.poolTimeout * 1000,
      recycleMs: options.poolRecycle * 1000,
    })
  const adminPool = open(options.adminUrl, ADMIN_POOL_SIZE, ADMIN_POOL_SIZE)
  const registryPool = open(options.adminUrl, REGISTRY_POOL_SIZE, REGISTRY_POOL_SIZE)
  const newsPool = open(options.adminUrl, 1, NEWS_POOL_SIZE)
  return Object.freeze({
    serving: open(options.url, options.poolSize, options.poolSize + options.maxOverflow),
    adminPool,
    admin: adminConnection(adminPool),
    registryPool,
    registry: adminConnection(registryPool, REGISTRY_PATIENCE_MS),
    newsPool,
    news: adminConnection(newsPool, NEWS_PATIENCE_MS),
    drizzle: drizzle as unknown as Opened['drizzle'],
  })
}

async function endAll({ serving, adminPool, registryPool, newsPool }: Opened, patienceMs: number): Promise<void> {
  await Promise.all([serving, adminPool, registryPool, newsPool].map((pool) => pool.end(patienceMs)))
}

async function accountsOf({ serving, adminPool }: Pick<Opened, 'serving' | 'adminPool'>) {
  return { serving: await accountOf(serving), admin: await accountOf(adminPool) }
}

async function accountOf(pool: Pool): Promise<string> {
  const text = 'select current_user() as account'
  const [row] = await onLease(pool, (lease) => queryOn(lease, REGISTRY_PATIENCE_MS)<{ account: string }>(text))
  return row?.account ?? ''
}

/** Two databases would mean: prefixed tables are made in one and looked for in the other. */
function assertDatabases({ url, adminUrl, strategies, sharedTables }: MysqlServerOptions): void {
  if (sharedTables !== undefined && parseMysqlUrl(url).database?.toLowerCase() === sharedTables.schema.toLowerCase()) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      '- sharedSchema: it is the database of databaseUrl. Use one of their own for shared tables.',
    ])
  }
  if (!strategies.includes('prefix')) return
  const [serving, admin] = [parseMysqlUrl(url).database, parseMysqlUrl(adminUrl).database]
  layoutOf(
    {
      tenantId: '',
      server: '',
      namespace: '',
      strategy: 'prefix',
      settings: {},
    },
    serving,
  )
  if (serving === admin) return
  throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
    '- databaseUrl and adminDatabaseUrl lead to different databases. Use one database, two accounts.',
  ])
}
