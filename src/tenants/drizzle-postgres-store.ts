import type { AdminConnection } from '../contracts/dialect.ts'
import type { ListOptions, TenantPage, TenantStore } from '../contracts/store.ts'
import { type NewTenant, sourcesOf, type Tenant, type TenantPatch, type TenantStatus } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { deepFreeze } from '../util/deep-freeze.ts'
import { parseIdentifier } from '../util/identifier.ts'
import { withRetries } from '../util/retry.ts'
import { readChanges } from './change-position.ts'
import { hotTenants, type HotRow } from './hot-tenants.ts'
import { encodeCursor, readPage } from './page-cursor.ts'
import { migrateRegistry, quoteRegistry } from './registry-migrations.ts'
import { loadRegistryQueries, type RegistryQueries, type RegistryRow } from './registry-queries.ts'
import { isRetryable, storeError } from './store-errors.ts'
import type { StoreLimits } from './store-limits.ts'
import { checkNewTenant, checkPatch, chunksOfIds, inOrderOf, isTenantId } from './tenant-input.ts'

/** What {@link createDrizzlePostgresTenantStore} takes. */
export interface DrizzlePostgresTenantStoreOptions extends StoreLimits {
  /** The registry's connection. Stays its maker's: `close` does not close it. */
  readonly admin: AdminConnection
  /** Makes a Drizzle database over `admin.client`, without a query cache. Called once, at first use. */
  readonly drizzle: (client: object) => unknown
  /** The schema of the registry, made if it is missing. Default `tenancy`. */
  readonly schema?: string
}

/**
 * The registry in a PostgreSQL schema of its own, by Drizzle's query builder; the driver may be node-postgres or PGlite.
 * Drizzle is loaded at first use.
 * @throws TENANCY_ERR_CONFIG_INVALID for a schema name that PostgreSQL or the registry cannot use; its methods also
 * throw TENANCY_ERR_PEER_MISSING
 */
export function createDrizzlePostgresTenantStore(options: DrizzlePostgresTenantStoreOptions): TenantStore {
  const { admin, schema = 'tenancy', maxTenants } = options
  checkSchema(schema)
  let loading: Promise<RegistryQueries> | undefined
  const readsNothing = `select 1 from ${quoteRegistry(schema)}.tenants, ${quoteRegistry(schema)}.change_counter where false`

  async function run<T>(work: (queries: RegistryQueries) => PromiseLike<T>): Promise<T> {
    try {
      loading ??= loadRegistryQueries({ ...options, schema })
      const queries = await loading.catch(forget)
      return await withRetries(async () => await work(queries), isRetryable)
    } catch (error) {
      throw storeError(error, options)
    }
  }

  // A failure must not stick: the next call may find the database opened or the peer installed.
  function forget(error: unknown): never {
    loading = undefined
    throw error
  }

  async function one(work: (queries: RegistryQueries) => PromiseLike<RegistryRow[]>): Promise<Tenant | undefined> {
    const [row] = await run(work)
    return row === undefined ? undefined : toTenant(row)
  }

  const getById = async (id: string): Promise<Tenant | undefined> =>
    isTenantId(id) ? one((queries) => queries.byId(id)) : undefined

  async function require(id: string): Promise<Tenant> {
    const tenant = await getById(id)
    if (tenant === undefined) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
    return tenant
  }

  async function update(id: string, input: TenantPatch, expectedVersion?: number): Promise<Tenant> {
    const patch = checkPatch(input)
    const isChange = isTenantId(id) && Object.keys(patch).length > 0
    const changed = isChange ? await one((queries) => queries.update(id, patch, expectedVersion)) : undefined
    if (changed !== undefined) return changed
    const tenant = await require(id)
    if (expectedVersion !== undefined && (isChange || tenant.version !== expectedVersion)) {
      throw tenancyError('TENANCY_ERR_TENANT_CONFLICT', [expectedVersion])
    }
    return tenant
  }

  async function setStatus(id: string, to: TenantStatus, from?: TenantStatus): Promise<Tenant> {
    const sources = isTenantId(id) ? sourcesOf(to, from) : []
    const changed = sources.length > 0 ? await one((queries) => queries.setStatus(id, to, sources)) : undefined
    if (changed !== undefined) return changed
    throw tenancyError('TENANCY_ERR_STATUS_TRANSITION', [(await require(id)).status, to])
  }

  async function getByIds(ids: readonly string[]): Promise<readonly Tenant[]> {
    const found: Tenant[] = []
    for (const chunk of chunksOfIds(ids)) {
      const rows = await run((queries) => queries.byIds(chunk))
      found.push(...inOrderOf(chunk, rows.map(toTenant)))
    }
    return found
  }

  async function list(options: ListOptions = {}): Promise<TenantPage> {
    const { limit, ...filter } = readPage(options)
    // One more than asked for tells whether there is a next page.
    const rows = await run((queries) => queries.list(limit + 1, filter))
    const tenants = rows.slice(0, limit).map(toTenant)
    const last = tenants.at(-1)
    return deepFreeze({ tenants, ...(last !== undefined && rows.length > limit && { next: encodeCursor(last) }) })
  }

  return Object.freeze({
    initialize: () => run(() => migrateRegistry(admin, schema)),
    getById,
    getByIdentifier: async (identifier: string) =>
      parseIdentifier(identifier) === undefined ? undefined : one((queries) => queries.byIdentifier(identifier)),
    getByIds,
    async insert(input: NewTenant) {
      const tenant = checkNewTenant(input)
      return (await one((queries) => queries.insert(tenant, maxTenants))) as Tenant
    },
    update,
    setStatus,
    discard: async (id: string) => isTenantId(id) && (await one((queries) => queries.discard(id))) !== undefined,
    list,
    count: async (status?: TenantStatus) => (await run((queries) => queries.count(status)))[0]?.rows ?? 0,
    changes: (after?: string) =>
      readChanges(after, {
        async last() {
          const [row] = await run((queries) => queries.lastChange())
          return { number: Number(row?.last), incarnation: row?.incarnation ?? '' }
        },
        changed: async (position, limit) =>
          (await run((queries) => queries.changed(position, limit))).map(({ changeNumber, ...row }) => ({
            tenant: toTenant(row),
            number: Number(changeNumber),
          })),
      }),
    ...hotTenants({
      read: () => run(() => admin.query<HotRow>(`select ids from ${quoteRegistry(schema)}.hot_tenants`)),
      write: (ids) => run(() => admin.query(`update ${quoteRegistry(schema)}.hot_tenants set ids = $1::text`, [ids])),
    }),
    ping: () => run(() => admin.query(readsNothing).then(() => undefined)),
    async close() {},
  })
}

function toTenant({ strategy, server, namespace, rowKey, metadata, ...row }: RegistryRow): Tenant {
  return deepFreeze({
    ...row,
    placement: { strategy, server, namespace, rowKey },
    metadata: JSON.parse(metadata) as Tenant['metadata'],
  })
}

function checkSchema(schema: string): void {
  const usable = schema !== '' && Buffer.byteLength(schema) <= 63 && !schema.includes('\0')
  if (usable && schema !== 'public' && !schema.startsWith('pg_') && schema !== 'information_schema') return
  throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
    "the registry's schema must be one of its own: 1 to 63 bytes, not `public`, not a system schema",
  ])
}
