import { assertServed, type TenantLookup } from './admission/admission.ts'
import { createLru } from './cache/lru.ts'
import { createTenantCache } from './cache/tenant-cache.ts'
import { configuredChannel, isWrittenElsewhere } from './change-channel.ts'
import { configuredCipher } from './cipher.ts'
import type { TenancyConfig } from './config.ts'
import {
  addInstance,
  type ContextInstance,
  enterContext,
  removeInstance,
  runInContext,
  TenancyContext,
  type TenantRef,
} from './context.ts'
import type { CacheStats } from './contracts/cache.ts'
import type { SharedCacheStats } from './contracts/shared-cache.ts'
import type { DestroyReport, PoolStats } from './contracts/dialect.ts'
import type { ListOptions, TenantFilter, TenantPage } from './contracts/store.ts'
import type { Tenant, TenantPatch, TenantStatus } from './contracts/tenant.ts'
import type { DoctorReport, VerifyReport } from './contracts/verification.ts'
import { diagnose } from './doctor.ts'
import { tenancyError } from './errors.ts'
import { createHealth, type Health } from './health.ts'
import {
  createTenantDatabases,
  type DrizzleFactory,
  type RequestTransaction,
  type TenantDatabases,
} from './isolation/tenant-databases.ts'
import { type ChangeResult, changeMany } from './lifecycle/change-many.ts'
import {
  checkArray,
  checkFilter,
  checkFunction,
  checkListOptions,
  checkPatchFields,
  checkRef,
} from './lifecycle/check-input.ts'
import { purgeTenant } from './lifecycle/purge.ts'
import { type ReencryptReport, reencrypt } from './lifecycle/reencrypt.ts'
import { createRegistration, type Registration, type RegistrationService } from './lifecycle/registration.ts'
import { createUpdate } from './lifecycle/update.ts'
import { verifyTenant } from './lifecycle/verify-tenant.ts'
import { readMigrations } from './migrations/reader.ts'
import type { TenantDb, TenantMetadata } from './register.ts'
import { configuredNews, configuredStore } from './registry.ts'
import { configuredServers } from './servers.ts'
import { configuredSharedCache } from './shared-cache.ts'
import { adoptSharedTables } from './shared-tables.ts'
import { adoptTables } from './sql/adopt.ts'
import { configuredStrategy } from './strategy.ts'
import { createChangeFeed } from './tenants/change-feed.ts'
import { createCachedTenantStore } from './tenants/cached-store.ts'
import { iterateTenants } from './tenants/iterate-tenants.ts'
import { createEncryptingTenantStore } from './tenants/encrypting-store.ts'
import { createRevocations } from './tenants/revocations.ts'
import { createSecretFields } from './tenants/secret-fields.ts'
import { createTenantMetadata } from './tenants/tenant-metadata.ts'
import { disposeAll, type Disposable } from './util/disposal.ts'
import { assertRegistrable } from './util/identifier.ts'
import { inTime } from './util/in-time.ts'

/** Counters since the start and sizes now. */
export interface Metrics {
  readonly cache: CacheStats
  /** Redis, where it is configured for the tenant cache. */
  readonly sharedCache?: SharedCacheStats
  /** Pools of `main` by their own names, those of another server as `<server>.<pool>`. */
  readonly pools: Readonly<Record<string, PoolStats>>
  /** Tenants whose database object is held. */
  readonly databases: number
}

/** `app.tenancy`. Every verb starts the instance if it is not running yet. */
export interface Tenancy {
  /**
   * Makes a tenant with its namespace and all migrations; a failure leaves nothing behind.
   * @throws TENANCY_ERR_TENANT_EXISTS, TENANCY_ERR_TENANT_INVALID, TENANCY_ERR_IDENTIFIER_INVALID,
   * TENANCY_ERR_MIGRATION_FAILED, TENANCY_ERR_MIGRATION_REFUSED, TENANCY_ERR_MIGRATION_CHANGED, TENANCY_ERR_PROVISION_FAILED,
   * TENANCY_ERR_STRATEGY_UNSUPPORTED, TENANCY_ERR_SERVER_UNKNOWN, TENANCY_ERR_TENANT_LIMIT, TENANCY_ERR_METADATA_INVALID
   */
  register(registration: Registration): Promise<Tenant>
  /** The tenant, registered if it does not exist; pending migrations are applied either way. */
  ensure(registration: Registration): Promise<Tenant>
  /** The tenant whatever its status, or `undefined`. */
  get(ref: TenantRef): Promise<Tenant | undefined>
  /** Tenants by their ids, however many and whatever their status: in the order of the ids, without those that do not exist. */
  getByIds(ids: readonly string[]): Promise<readonly Tenant[]>
  /** Tenants, newest first, by pages; all, those of a status, or those with a text in identifier or name. */
  list(options?: ListOptions): Promise<TenantPage>
  /** All tenants that match, newest first, in bounded memory: `for await (const tenant of app.tenancy.iterate())`. */
  iterate(filter?: TenantFilter): AsyncGenerator<Tenant, void, undefined>
  /** What `metadataSchema` makes of a tenant's metadata; without one, the metadata. @throws TENANCY_ERR_METADATA_STORED */
  metadataOf(tenant: Tenant): TenantMetadata
  /**
   * Changes name, identifier or metadata.
   * @throws TENANCY_ERR_TENANT_CONFLICT when `expectedVersion` is stale, TENANCY_ERR_METADATA_INVALID
   */
  update(ref: TenantRef, patch: TenantPatch, expectedVersion?: number): Promise<Tenant>
  /**
   * Stops serving a tenant, also for database handles that are held: at once in this process, within a second in all others
   * that can reach the registry.
   */
  suspend(ref: TenantRef): Promise<Tenant>
  /** Serves a suspended tenant again. */
  activate(ref: TenantRef): Promise<Tenant>
  /** Suspends each of many; what became of each, in their order. Throws for none of them. */
  suspendMany(refs: readonly TenantRef[]): Promise<readonly ChangeResult[]>
  /** As `suspendMany`, the other way. */
  activateMany(refs: readonly TenantRef[]): Promise<readonly ChangeResult[]>
  /** Marks a tenant as deleted: nobody is served, the data stays. There is no way back. */
  delete(ref: TenantRef): Promise<Tenant>
  /**
   * Removes all data of a deleted tenant and of nobody else, and tells how much that was.
   * @throws TENANCY_ERR_STATUS_TRANSITION when it is not deleted, TENANCY_ERR_DESTROY_INCOMPLETE
   */
  purge(ref: TenantRef): Promise<DestroyReport>
  /**
   * Finds out whether a tenant is kept apart from all others, by the catalogue and by trying. Safe in production: it leaves
   * nothing behind. `ok: false` means that it is not kept apart; what keeps us from finding out is thrown.
   * @throws TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_VERIFY_FAILED
   */
  verify(ref: TenantRef): Promise<VerifyReport>
  /**
   * Looks at everything that tenants share by the rules of docs/doctor.md, and says what each strategy promises. Changes
   * nothing. `ok: false` means that rows of another tenant could be reached.
   * @throws TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_VERIFY_FAILED
   */
  doctor(): Promise<DoctorReport>
  /**
   * Seals every secret in metadata anew that is not sealed with the current key: after a rotation, or for values of
   * fastapi-tenancy and in clear. Bounded in memory, safe beside writers, and can be stopped and run again.
   * @throws TENANCY_ERR_ENCRYPTION_OFF, TENANCY_ERR_STORE_UNAVAILABLE, TENANCY_ERR_KMS_UNAVAILABLE
   */
  reencrypt(): Promise<ReencryptReport>
  /** Runs `work` as a tenant of this instance, like `runWithTenant`. */
  run<T>(ref: TenantRef, work: (tenant: Tenant) => T | Promise<T>): Promise<T>
  /** The unscoped Drizzle database of `main` with the admin rights. For your own administration, never for a request's data. */
  adminDb(): Promise<TenantDb>
  /** Asks every server and the tenant store, each for 2 s at most once the instance runs. Never throws. */
  health(): Promise<Health>
  getMetrics(): Metrics
}

/** A {@link Tenancy} with what the plugin needs of it. */
export interface TenancyInstance extends Tenancy, Omit<ContextInstance, 'metadataOf'> {
  readonly lookup: TenantLookup
  /** Connects, verifies, prepares the registry. Once; a failure may be retried. */
  start(): Promise<void>
  transactionOf(tenant: Tenant): RequestTransaction
  /** Whether a request cannot have one. */
  readonly synchronous: boolean
  /** Closes every part within the deadline of the config; failures are logged. */
  close(): Promise<void>
  /** The same after a failed start, but for the tenant store: it is the user's, and the next start goes on with it. */
  abandon(): Promise<void>
}

/** The part of a logger that is used. */
export interface Log {
  debug(details: object, message: string): void
  warn(message: string): void
  error(details: object, message: string): void
}

/** Seconds between two times that a process writes down which tenants it serves, and how long that may take at its end. */
const NOTE_USED = { everySeconds: 300, patienceMs: 1000 }

/** Milliseconds before a registry that did not answer is asked again who is still served. */
const REVIEW_PAUSE_MS = 1000

/** Header, host and path are what the caller says, not what it proves. */
const UNPROVEN =
  'Tenants are resolved from what the caller claims. Give `authorize` to check that it may act for that tenant.'

const WITHOUT_TABLES = 'There are no `migrations`: a tenant that is registered gets no tables from here.'

/** Builds an instance. Pure: connections are made by `start()`, once `after` is over. */
export function createTenancy(config: TenancyConfig, log: Log, after?: Promise<unknown>): TenancyInstance {
  const server = configuredServers(config, {
    onStatement: config.databaseEcho ? (statement) => log.debug({ statement }, 'tenant statement') : undefined,
    warn: (sentence) => log.warn(sentence),
  })
  const { strategy, notes } = configuredStrategy(config, server.capabilities)
  adoptSharedTables(config, server, strategy)
  if (strategy.needs.some((name) => server.textScoped.has(name))) adoptTables(config.schema)
  const revocations = createRevocations()
  const forget = (tenant: Tenant): void => {
    // One that was placed by a strategy that is no longer configured was never served here.
    if (!strategy.needs.includes(tenant.placement.strategy)) return
    try {
      server.forget?.(strategy.scope(tenant))
    } catch (error) {
      // Nor one whose placement is invalid; whoever comes after it in the same news must be heard of all the same.
      log.error({ error }, 'fastify-tenancy could not forget a tenant')
    }
  }
  const cache = createTenantCache({ maxSize: config.l1CacheMaxSize, ttlSeconds: config.l1CacheTtlSeconds })
  const channel = configuredChannel(config, server)
  const secrets = createSecretFields(configuredCipher(config), config.encryptedPrefix)
  const sealed = configuredStore(config, server)
  const registry = createEncryptingTenantStore({ store: sealed, secrets })
  const news = configuredNews(config, server)
  const shared = configuredSharedCache(config, log)
  const store = createCachedTenantStore({
    store: registry,
    news: news && createEncryptingTenantStore({ store: news, secrets }),
    cache,
    l2: shared && { shared, store: sealed, unseal: secrets.hide },
    announce: channel?.announce,
    isFresh: () => feed?.healthy === true,
    onChange(tenant) {
      if (revocations.learn(tenant)) forget(tenant)
    },
    onReset: (used) => void review(new Set([...revocations.doubt(), ...used])),
  })
  const feed = isWrittenElsewhere(config, server)
    ? createChangeFeed({ store, cache, channel, warn: (sentence) => log.warn(sentence) })
    : undefined
  /** Versions of another registry mean nothing: what is held, or refused, of a tenant is asked for anew. */
  const review = async (ids: Set<string>): Promise<void> => {
    if (closed) return
    const found = await store.refresh([...ids]).catch(() => undefined)
    if (found === undefined) {
      setTimeout(() => void review(ids), REVIEW_PAUSE_MS).unref()
      return
    }
    for (const { id } of found) ids.delete(id)
    for (const id of ids) revocations.revoke(id)
  }
  const metadata = createTenantMetadata({ schema: config.metadataSchema, secretPrefix: config.encryptedPrefix })
  // What is merged with is checked again by its version: it need not be the latest, and a busy tenant's always is not.
  const update = createUpdate({ store: { getById: registry.getById, update: store.update }, metadata })
  const handles = createLru<object>({ max: config.l1CacheMaxSize })
  const factory = (config.drizzle as DrizzleFactory | undefined) ?? ((client) => server.drizzle(client) as object)
  const databases: TenantDatabases = createTenantDatabases({ server, strategy, factory, handles, revoked: revocations })

  let registration: RegistrationService | undefined
  let starting: Promise<void> | undefined
  let closed = false
  /** What has expired holds memory, and secrets perhaps. */
  let purging: NodeJS.Timeout | undefined
  let noting: NodeJS.Timeout | undefined
  const preloaded = Math.min(config.l1CachePreload, config.l1CacheMaxSize)
  /** A hint for the next start, which nothing may fail for. */
  const noteUsed = async (): Promise<void> => {
    if (preloaded === 0) return
    await inTime(store.noteUsed(preloaded), NOTE_USED.patienceMs, () => undefined).catch(() => {})
  }

  const boot = async (): Promise<void> => {
    await after
    if (config.authorize === undefined) log.warn(UNPROVEN)
    if (config.migrations === undefined) log.warn(WITHOUT_TABLES)
    for (const note of notes) log.warn(note)
    for (const warning of await server.open()) log.warn(warning)
    const advice = databases.tryFactory()
    if (advice !== undefined) log.warn(advice)
    await store.initialize()
    // Outside of the tenant that may have asked for the start: timers and sockets keep the context they were made in.
    await enterContext(undefined, () => feed?.start())
    // After the feed has a position: L2 is believed from here on, and what was read before it may have changed before it too.
    await enterContext(undefined, () => shared?.open())
    if (preloaded > 0) await store.preload(preloaded)
    const migrations = config.migrations === undefined ? [] : await readMigrations(config.migrations)
    const reserved = new Set(config.reservedIdentifiers)
    registration = createRegistration({
      store,
      strategy,
      server,
      migrations,
      reserved,
      metadata,
      initialStatus: config.defaultTenantStatus,
    })
    if (closed) throw tenancyError('TENANCY_ERR_CLOSED')
    purging ??= setInterval(cache.purge.bind(cache), Math.max(1, config.l1CacheTtlSeconds / 2) * 1000).unref()
    if (preloaded > 0) noting ??= setInterval(() => void noteUsed(), NOTE_USED.everySeconds * 1000).unref()
    addInstance(instance)
  }
  const start = (): Promise<void> => {
    if (closed) return Promise.reject(tenancyError('TENANCY_ERR_CLOSED'))
    starting ??= boot().catch(async (error: unknown) => {
      starting = undefined
      // Closing came first and found nothing open yet.
      if (closed) await server.close().catch(() => {})
      throw error
    })
    return starting
  }
  const registrations = async (): Promise<RegistrationService> => {
    await start()
    return registration as RegistrationService
  }
  const idOf = async (ref: TenantRef): Promise<string> => {
    checkRef(ref)
    await start()
    if (typeof ref !== 'string') return ref.id
    // An id never changes, so it does not matter whether others write meanwhile; a suspension must not fail for that.
    const tenant = await registry.getByIdentifier(ref)
    if (tenant === undefined) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
    return tenant.id
  }

  const moveTo = (to: TenantStatus, from?: TenantStatus) => async (ref: TenantRef) =>
    store.setStatus(await idOf(ref), to, from)
  // Out of `provisioning` leads only the end of a registration: what is half-made may still turn out to be somebody else's.
  const suspend = moveTo('suspended', 'active')
  const activate = moveTo('active', 'suspended')
  const changeAll = async (refs: readonly TenantRef[], change: (ref: TenantRef) => Promise<Tenant>) => {
    checkArray('`refs`', refs)
    await start()
    return changeMany(refs, change)
  }

  /** Ends what `boot` began, after `first`. */
  const end = async (first: readonly Disposable[]): Promise<void> => {
    closed = true
    removeInstance(instance)
    feed?.close()
    clearInterval(purging)
    clearInterval(noting)
    const parts = [
      ...first,
      ...(shared ? [{ name: 'tenant cache', close: () => shared.close() }] : []),
      { name: 'database', close: () => server.close() },
    ]
    for (const { name, error } of await disposeAll(parts, config.closeTimeoutSeconds * 1000)) {
      log.error({ error }, `fastify-tenancy could not close the ${name}`)
    }
  }

  const instance: TenancyInstance = Object.freeze({
    register: async (input: Registration) => (await registrations()).register(input),
    ensure: async (input: Registration) => (await registrations()).ensure(input),
    async get(ref: TenantRef) {
      checkRef(ref)
      await start()
      return typeof ref === 'string' ? store.getByIdentifier(ref) : store.getById(ref.id)
    },
    async getByIds(ids: readonly string[]) {
      checkArray('`ids`', ids)
      await start()
      return store.getByIds(ids)
    },
    async list(options?: ListOptions) {
      checkListOptions(options)
      await start()
      return store.list(options)
    },
    async *iterate(filter?: TenantFilter) {
      checkFilter(filter)
      await start()
      yield* iterateTenants(store, filter)
    },
    async update(ref: TenantRef, patch: TenantPatch, expectedVersion?: number) {
      checkPatchFields(patch, expectedVersion)
      if (patch.identifier !== undefined) assertRegistrable(patch.identifier, new Set(config.reservedIdentifiers))
      return update(await idOf(ref), patch, expectedVersion)
    },
    suspend,
    activate,
    suspendMany: async (refs: readonly TenantRef[]) => changeAll(refs, suspend),
    activateMany: async (refs: readonly TenantRef[]) => changeAll(refs, activate),
    delete: moveTo('deleted'),
    purge: async (ref: TenantRef) => purgeTenant({ store, server, strategy }, await idOf(ref)),
    verify: async (ref: TenantRef) => verifyTenant({ store, server, strategy }, await idOf(ref)),

    async doctor() {
      await start()
      return diagnose(server, strategy.needs, config)
    },

    async reencrypt() {
      if (!config.enableEncryption) throw tenancyError('TENANCY_ERR_ENCRYPTION_OFF')
      await start()
      return reencrypt(store)
    },

    async run<T>(ref: TenantRef, work: (tenant: Tenant) => T | Promise<T>): Promise<T> {
      checkRef(ref)
      checkFunction('`work`', work)
      await start()
      const found = await (typeof ref === 'string' ? store.resolve(ref) : store.resolveById(ref.id))
      const tenant = assertServed(found, typeof ref === 'string' ? ref : ref.id)
      return runInContext(new TenancyContext(instance, tenant), () => work(tenant))
    },
    async adminDb() {
      await start()
      return databases.admin() as TenantDb
    },
    health: createHealth({ start, database: server, store, servers: server.others, sharedCache: shared }),
    getMetrics: () => ({
      cache: cache.stats(),
      ...(shared && { sharedCache: shared.stats() }),
      pools: server.stats(),
      databases: handles.size,
    }),

    lookup: { peek: store.peek, resolve: store.load },
    start,
    databaseOf: databases.of,
    metadataOf: (tenant: Tenant) => metadata.of(tenant) as TenantMetadata,
    transactionOf: databases.transactionOf,
    synchronous: server.synchronous === true,
    close: () => end([{ name: 'tenant store', close: () => noteUsed().then(() => store.close()) }]),
    abandon: () => end([]),
  })
  return instance
}
