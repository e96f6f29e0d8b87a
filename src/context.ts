import { AsyncLocalStorage } from 'node:async_hooks'
import type { Tenant } from './contracts/tenant.ts'
import { tenancyError } from './errors.ts'
import { refuseAsynchronous } from './util/synchronous.ts'

/** A tenant by its identifier, or anything that carries its id, such as a Tenant. Only the id of an object is believed. */
export type TenantRef = string | { readonly id: string }

/** What the global functions need of a running plugin instance. */
export interface ContextInstance {
  /** The current tenant's Drizzle database. No I/O. */
  databaseOf(tenant: Tenant): object
  /** The tenant's metadata as the schema reads it; absent where there is none. No I/O. */
  metadataOf?(tenant: Tenant): unknown
  /** Loads the tenant anew, checks that it is served, and runs `work` in its context. */
  run<T>(ref: TenantRef, work: (tenant: Tenant) => T | Promise<T>): Promise<T>
}

const STORAGE = Symbol.for('fastify-tenancy.storage.1')

/** What one request or job remembers. One object a request; nested runs make their own. */
export class TenancyContext {
  readonly instance: ContextInstance
  readonly tenant: Tenant | undefined
  /** The context of the request or job that a transaction inside it belongs to. */
  readonly root: TenancyContext
  /** The open transaction's database, which `getTenantDb()` gives instead of the tenant's. */
  readonly #transaction: object | undefined
  /** How many transactions of this request are open around here. */
  readonly depth: number
  /** The context around this one, of the same request or job. */
  readonly outer: TenancyContext | undefined
  /** Set when the transaction of this context has no more work of its callback to come. */
  ended = false
  #metadata: Map<string, unknown> | undefined

  constructor(instance: ContextInstance, tenant: Tenant | undefined, transaction?: object, outer?: TenancyContext) {
    this.instance = instance
    this.tenant = tenant
    this.#transaction = transaction
    this.outer = outer
    this.root = outer?.root ?? this
    this.depth = outer === undefined ? 0 : outer.depth + 1
  }

  /** The tenant's database, or the open transaction. @throws TENANCY_ERR_NO_TENANT */
  get database(): object {
    if (this.tenant === undefined) throw tenancyError('TENANCY_ERR_NO_TENANT')
    return this.#transaction ?? this.instance.databaseOf(this.tenant)
  }

  /** Notes that belong to this request or job only. */
  get metadata(): Map<string, unknown> {
    if (this.root !== this) return this.root.metadata
    this.#metadata ??= new Map()
    return this.#metadata
  }

  /** The same context with an open transaction. */
  inTransaction(database: object): TenancyContext {
    return new TenancyContext(this.instance, this.tenant, database, this)
  }
}

/** One for all copies of this package in the process, or a handle of one copy would not know the other's context. */
const shared = globalThis as { [STORAGE]?: AsyncLocalStorage<TenancyContext> }
shared[STORAGE] ??= new AsyncLocalStorage<TenancyContext>()
const storage = shared[STORAGE]
const instances = new Set<ContextInstance>()
/** Of each app that is registered and not closed, started or not: which registry its tenants are in. */
const registries = new Map<object, unknown>()
/** Whether the last start failed: Fastify keeps its error, and `ready()` again only throws it. */
let startFailed = false
const AFTER_FAILURE =
  ', because its start failed. `app.ready()` and `listen()` only throw that error again: make a new Fastify instance, or call a verb of `app.tenancy`, which starts anew.'

/** Makes the global functions know an instance. */
export function addInstance(instance: ContextInstance): void {
  startFailed = false
  instances.add(instance)
}

/** Makes them say that a start failed, until one does not. */
export function noteFailedStart(): void {
  startFailed = true
}

/** Makes them forget it. */
export function removeInstance(instance: ContextInstance): void {
  instances.delete(instance)
}

/** Makes the global functions know that there is an app, before it starts. @param registry equal to that of apps with the same tenants */
export function addApp(app: object, registry: unknown): void {
  registries.set(app, registry)
}

/** Makes them forget it. */
export function removeApp(app: object): void {
  registries.delete(app)
}

/** The current context, if any. */
export function currentContext(): TenancyContext | undefined {
  return storage.getStore()
}

/**
 * Calls `callback` inside `context`, or outside of any. Never `enterWith`: on Node 20 that leaks into the next request of
 * a socket.
 */
export function enterContext<T>(context: TenancyContext | undefined, callback: () => T): T {
  // The type of `run` does not know that a store may be undefined.
  return storage.run(context as TenancyContext, callback)
}

/** Runs `work` in `context` and awaits it there: Drizzle's builders are lazy and would start outside. */
export function runInContext<T>(context: TenancyContext, work: () => T | Promise<T>): Promise<T> {
  return storage.run(context, async () => await work())
}

/**
 * Runs the callback of a transaction so that `getTenantDb()` inside it is that transaction, if the context is this
 * tenant's. In any other context nothing changes: the transaction belongs to a tenant, not to the caller.
 */
export async function runInTransaction<T>(tenantId: string, database: object, work: () => T | Promise<T>): Promise<T> {
  const context = storage.getStore()
  if (context?.tenant?.id !== tenantId) return work()
  const inner = context.inTransaction(database)
  // Awaited there: Drizzle's builders are lazy and would start outside, where they would wait for this very transaction.
  return storage.run(inner, async () => {
    try {
      return await work()
    } finally {
      inner.ended = true
    }
  })
}

/** The same where a transaction is one synchronous call: nothing in it is awaited, and nothing that it gives may be. */
export function runInTransactionNow<T>(tenantId: string, database: object, work: () => T): T {
  const context = storage.getStore()
  if (context?.tenant?.id !== tenantId) return refuseAsynchronous(work())
  const inner = context.inTransaction(database)
  try {
    return storage.run(inner, () => refuseAsynchronous(work()))
  } finally {
    inner.ended = true
  }
}

/** How many transactions are open around here: what was started in one that has ended since belongs to the one around it. */
export function openTransactions(): number {
  let context = storage.getStore()
  while (context?.ended === true) context = context.outer
  return context?.depth ?? 0
}

/** The tenant of the current request or job. @throws TENANCY_ERR_NO_TENANT */
export function getTenant(): Tenant {
  const tenant = storage.getStore()?.tenant
  if (tenant === undefined) throw tenancyError('TENANCY_ERR_NO_TENANT')
  return tenant
}

/** The tenant of the current request or job, or `undefined`. */
export function tryGetTenant(): Tenant | undefined {
  return storage.getStore()?.tenant
}

/** Notes of the current request or job: gone with it, hidden from nested ones. @throws TENANCY_ERR_NO_TENANT outside both */
export function getContextMetadata(): Map<string, unknown> {
  const context = storage.getStore()
  if (context === undefined) throw tenancyError('TENANCY_ERR_NO_TENANT')
  return context.metadata
}

/** The current database, before it gets its type. @throws TENANCY_ERR_NO_TENANT */
export function currentDatabase(): object {
  const context = storage.getStore()
  if (context === undefined) throw tenancyError('TENANCY_ERR_NO_TENANT')
  return context.database
}

/** The current tenant's metadata, before it gets its type. @throws TENANCY_ERR_NO_TENANT, TENANCY_ERR_METADATA_STORED */
export function currentMetadata(): unknown {
  const context = storage.getStore()
  if (context?.tenant === undefined) throw tenancyError('TENANCY_ERR_NO_TENANT')
  const { instance, tenant } = context
  return instance.metadataOf === undefined ? tenant.metadata : instance.metadataOf(tenant)
}

/**
 * Runs `work` as a tenant: for jobs and scripts. The tenant is loaded anew and its status checked, so a forged or stale
 * object opens nothing. Nests; the outer context is back afterwards, also when `work` throws.
 *
 * @throws TENANCY_ERR_TENANT_UNKNOWN, TENANCY_ERR_TENANT_SUSPENDED, TENANCY_ERR_STORE_UNAVAILABLE,
 * TENANCY_ERR_NOT_STARTED, TENANCY_ERR_AMBIGUOUS_INSTANCE
 */
export function runWithTenant<T>(ref: TenantRef, work: (tenant: Tenant) => T | Promise<T>): Promise<T> {
  return instanceHere().then((instance) => instance.run(ref, work))
}

/** Runs `work` without a tenant, whatever the outer context: `getTenantDb()` in it throws. */
export function runWithoutTenant<T>(work: () => T | Promise<T>): Promise<T> {
  return instanceHere().then((instance) => runInContext(new TenancyContext(instance, undefined), work))
}

async function instanceHere(): Promise<ContextInstance> {
  const current = storage.getStore()?.instance
  if (current !== undefined) return current
  const [only, second] = instances
  if (only === undefined) throw tenancyError('TENANCY_ERR_NOT_STARTED', startFailed ? [AFTER_FAILURE] : [])
  // One that is not started, or could not, has tenants of the same names: its job must not run as that of another company.
  if (second !== undefined || new Set(registries.values()).size > 1) {
    throw tenancyError('TENANCY_ERR_AMBIGUOUS_INSTANCE', [Math.max(instances.size, registries.size)])
  }
  return only
}
