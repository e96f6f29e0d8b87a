import type { Lru } from '../contracts/cache.ts'
import type { DatabaseServer, Guard } from '../contracts/dialect.ts'
import type { IsolationStrategy } from '../contracts/isolation.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { currentContext } from '../context.ts'
import { isTenancyError, tenancyError } from '../errors.ts'
import { type DrizzleDatabase, joining, joiningNow, synchronousOnly } from './joining.ts'
import { type CacheView, noCacheView, tenantCacheView } from './tenant-query-cache.ts'

/** Makes a Drizzle database over a driver-shaped client. `tenant` is null for the admin connection. */
export type DrizzleFactory = (client: object, context: FactoryContext) => object

/** What a {@link DrizzleFactory} is told. */
export interface FactoryContext {
  readonly tenant: Tenant | null
  /** This tenant's view of a query cache: `drizzle({ client, cache: cache(shared) })`. */
  readonly cache: CacheView
}

/** Options of {@link createTenantDatabases}. */
export interface TenantDatabasesOptions {
  readonly server: DatabaseServer
  readonly strategy: IsolationStrategy
  readonly factory: DrizzleFactory
  /** Databases by tenant id; one that is dropped is built again. */
  readonly handles: Lru<object>
  /** Ids of the tenants that are no longer served; told of whom a database is in use while `holder` lives. */
  readonly revoked: { has(id: string): boolean; hold(id: string, holder: object): void }
}

/** One transaction for a request, and its database. */
export interface RequestTransaction {
  readonly database: object
  commit(): Promise<void>
  rollback(): Promise<void>
}

/** Drizzle databases by tenant. */
export interface TenantDatabases {
  /** The tenant's database, the same object each time while it is cached. No I/O, holds no connection. */
  of(tenant: Tenant): object
  /** A database whose statements share one transaction, opened at the first. */
  transactionOf(tenant: Tenant): RequestTransaction
  /** The unscoped database of the admin connection. */
  admin(): object
  /**
   * Tries the factory, so that a start fails for what each request would. No I/O.
   * @returns a warning when the factory itself threw: it has need of a tenant, or each request will fail for it
   * @throws TENANCY_ERR_DRIZZLE_FACTORY
   */
  tryFactory(): string | undefined
}

/** Builds and keeps the Drizzle databases of tenants, each bound to its tenant for ever. */
export function createTenantDatabases({
  server,
  strategy,
  factory,
  handles,
  revoked,
}: TenantDatabasesOptions): TenantDatabases {
  const built = new WeakSet<object>()
  const guardOf = (id: string) => (moment?: 'send') => {
    if (revoked.has(id)) throw tenancyError('TENANCY_ERR_TENANT_REVOKED')
    if (moment !== 'send') assertNotForeign(id)
  }
  /** Whoever can run a statement has it, so it lives as long as the database, or a part of it, is held. */
  const heldGuardOf = (id: string) => {
    const guard = guardOf(id)
    revoked.hold(id, guard)
    return guard
  }
  const build = (client: object, tenant: Tenant | null): DrizzleDatabase => {
    // Of this call only: another tenant's view would be as bad as none.
    const cacheViews = new WeakSet<object>()
    const cache = tenant === null ? noCacheView(cacheViews) : tenantCacheView(tenant.id, guardOf(tenant.id), cacheViews)
    const database = factory(client, { tenant, cache })
    assertSafe(database, { client, server, built, cacheViews })
    built.add(database)
    return database as DrizzleDatabase
  }
  const buildFor = (tenant: Tenant): object => {
    const scope = strategy.scope(tenant)
    const guard = heldGuardOf(tenant.id)
    const make = (each: Guard) => build(server.client(scope, each), tenant)
    if (server.synchronous === true) return joiningNow(tenant.id, guard, make)
    return joining(make(guard), tenant.id)
  }
  const buildAdmin = (): object => {
    const database = build(server.admin.client, null)
    return server.synchronous === true ? synchronousOnly(database) : database
  }
  let adminDatabase: object | undefined
  const admin = (): object => {
    adminDatabase ??= buildAdmin()
    return adminDatabase
  }

  return Object.freeze({
    of(tenant: Tenant) {
      const known = handles.get(tenant.id)
      if (known !== undefined) return known
      const database = buildFor(tenant)
      handles.set(tenant.id, database)
      return database
    },

    transactionOf(tenant: Tenant) {
      const transaction = server.lazyTransaction(strategy.scope(tenant), heldGuardOf(tenant.id))
      return Object.freeze({
        database: joining(build(transaction.client, tenant), tenant.id),
        commit: transaction.commit,
        rollback: transaction.rollback,
      })
    },

    admin,

    tryFactory() {
      try {
        admin()
        return undefined
      } catch (error) {
        if (isTenancyError(error)) throw error
        const [what, where] = [String(error), server.drizzleImport]
        return `The \`drizzle\` function threw where there is no tenant (${what}). Unless it needs one, each request will fail: write \`drizzle({ client, … })\`, with that of \`${where}\`.`
      }
    },
  })
}

/**
 * A database is bound to its tenant, so one that was kept (a prepared statement in a module, a query awaited elsewhere)
 * would bring its own tenant's rows into the request of another. Outside of any tenant's context it may be used.
 */
function assertNotForeign(id: string): void {
  const current = currentContext()?.tenant
  if (current !== undefined && current.id !== id) throw tenancyError('TENANCY_ERR_TENANT_MISMATCH')
}

/** What a database is built of, and what was built before. */
interface Building {
  readonly client: object
  readonly server: Pick<DatabaseServer, 'drizzleImport' | 'drizzleSession'>
  readonly built: WeakSet<object>
  readonly cacheViews: WeakSet<object>
}

/** Refuses what would serve one tenant's rows to another however well the client is confined. */
function assertSafe(database: object, { client, server, built, cacheViews }: Building): void {
  const unsafe = (reason: string) => tenancyError('TENANCY_ERR_DRIZZLE_FACTORY', [reason])
  const right = `Here \`drizzle\` is that of \`${server.drizzleImport}\`.`
  if (typeof database !== 'object' || database === null) throw unsafe(`it must return a Drizzle database. ${right}`)
  if (built.has(database))
    throw unsafe('it returned the same database for two tenants. Build one from each `client` it is given.')
  if (database instanceof Promise)
    throw unsafe('it is asynchronous. Await what it needs before you register the plugin.')
  const { $client, $cache, $primary, session, transaction } = database as DrizzleDatabase
  if ($client !== client) {
    throw unsafe(
      `its database does not use the \`client\` it was given. Write \`drizzle({ client, … })\`; drizzle-orm 1.0 ignores \`drizzle(client)\`. ${right}`,
    )
  }
  const kinds = kindsOf(session)
  if (kinds.length > 0 && !kinds.includes(server.drizzleSession)) {
    throw unsafe(`its database is one for another driver (${kinds[0]}). ${right}`)
  }
  // Drizzle's query cache is keyed by SQL and parameters, without the tenant: it hands one tenant another's rows.
  if ($cache !== undefined && !isCacheless($cache) && !isView($cache, cacheViews)) {
    throw unsafe(
      "Drizzle's query cache does not know tenants. Write `(client, { cache }) => drizzle({ client, cache: cache(yours) })`.",
    )
  }
  // A replica is a database of its own, which nothing here could tell from another tenant's.
  if ($primary !== undefined) throw unsafe('`withReplicas()` is not supported.')
  if (typeof transaction !== 'function') throw unsafe(`its database has no \`transaction()\`. ${right}`)
}

const KIND = Symbol.for('drizzle:entityKind')

/** What Drizzle calls this object, and what it inherits from. */
function kindsOf(entity: unknown): string[] {
  const kinds: string[] = []
  for (let one: unknown = entity; typeof one === 'object' && one !== null; one = Object.getPrototypeOf(one)) {
    const kind = (one.constructor as { [KIND]?: unknown } | undefined)?.[KIND]
    if (typeof kind === 'string') kinds.push(kind)
  }
  return kinds
}

/** What stands for a cache where Drizzle has none, with better-sqlite3: a cache has a strategy. */
function isCacheless(cache: unknown): boolean {
  if (typeof cache !== 'object' || cache === null || Object.getPrototypeOf(cache) !== Object.prototype) return false
  const keys = Reflect.ownKeys(cache)
  return keys.length === 1 && keys[0] === 'invalidate'
}

function isView(cache: unknown, views: WeakSet<object>): boolean {
  return typeof cache === 'object' && cache !== null && views.has(cache)
}
