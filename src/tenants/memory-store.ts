import { randomUUID } from 'node:crypto'
import type { ListOptions, TenantPage, TenantStore } from '../contracts/store.ts'
import { type NewTenant, sourcesOf, type Tenant, type TenantPatch, type TenantStatus } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { deepFreeze } from '../util/deep-freeze.ts'
import { foldText } from '../util/fold-text.ts'
import { canonicalRowKey } from '../util/row-key.ts'
import { readChanges } from './change-position.ts'
import { encodeCursor, type PagePosition, readPage } from './page-cursor.ts'
import type { StoreLimits } from './store-limits.ts'
import { type CheckedPatch, checkNewTenant, checkPatch, merged } from './tenant-input.ts'

/**
 * A registry in this process's memory, gone with it: for tests and demos. Each method does its work in one synchronous
 * step, so nothing comes in between.
 */
export function createMemoryTenantStore({ maxTenants = Number.POSITIVE_INFINITY }: StoreLimits = {}): TenantStore {
  const rows = new Map<string, Tenant>()
  /** Ids in the order of their latest change, with its number. */
  const changes = new Map<string, number>()
  /** Who had an identifier once, by it. */
  const released = new Map<string, string>()
  const incarnation = randomUUID()
  let last = 0
  let hot: readonly string[] = []

  const find = (matches: (tenant: Tenant) => boolean): Tenant | undefined => [...rows.values()].find(matches)

  const countWhere = (matches: (tenant: Tenant) => boolean): number => [...rows.values()].filter(matches).length

  /** Who gave an identifier up keeps it from all others. */
  function assertFree({ id, identifier }: Pick<Tenant, 'id' | 'identifier'>): void {
    if ((released.get(identifier) ?? id) !== id) throw tenancyError('TENANCY_ERR_TENANT_EXISTS')
  }

  function require(id: string): Tenant {
    const tenant = rows.get(id)
    if (tenant === undefined) throw tenancyError('TENANCY_ERR_TENANT_NOT_FOUND')
    return tenant
  }

  function write(tenant: Tenant): Tenant {
    rows.set(tenant.id, deepFreeze(tenant))
    changes.delete(tenant.id)
    changes.set(tenant.id, ++last)
    return tenant
  }

  function insert(input: NewTenant): Tenant {
    const tenant = checkNewTenant(input)
    const { id, identifier, placement } = tenant
    const rowKey = canonicalRowKey(placement.rowKey)
    const clash = (other: Tenant) =>
      other.id === id ||
      other.identifier === identifier ||
      other.placement.namespace === placement.namespace ||
      canonicalRowKey(other.placement.rowKey) === rowKey
    assertFree(tenant)
    if (find(clash) !== undefined) throw tenancyError('TENANCY_ERR_TENANT_EXISTS')
    if (countWhere(({ status }) => status !== 'purged') >= maxTenants) {
      throw tenancyError('TENANCY_ERR_TENANT_LIMIT', [maxTenants])
    }
    const now = new Date().toISOString()
    return write({ ...tenant, version: 1, createdAt: now, updatedAt: now })
  }

  function update(id: string, input: TenantPatch, expectedVersion?: number): Tenant {
    const patch = checkPatch(input)
    const tenant = require(id)
    if (expectedVersion !== undefined && tenant.version !== expectedVersion) {
      throw tenancyError('TENANCY_ERR_TENANT_CONFLICT', [expectedVersion])
    }
    const { identifier = tenant.identifier } = patch
    if (find((other) => other.id !== id && other.identifier === identifier) !== undefined) {
      throw tenancyError('TENANCY_ERR_TENANT_EXISTS')
    }
    assertFree({ id, identifier })
    if (identifier !== tenant.identifier) released.set(tenant.identifier, id)
    return Object.keys(patch).length === 0 ? tenant : write(changed(tenant, patched(tenant, patch)))
  }

  function setStatus(id: string, to: TenantStatus, from?: TenantStatus): Tenant {
    const tenant = require(id)
    if (!sourcesOf(to, from).includes(tenant.status)) {
      throw tenancyError('TENANCY_ERR_STATUS_TRANSITION', [tenant.status, to])
    }
    return write(changed(tenant, { status: to }))
  }

  function list(options: ListOptions): TenantPage {
    const { limit, after, status, search } = readPage(options)
    const matching = [...rows.values()]
      .filter((tenant) => status === undefined || tenant.status === status)
      .filter(({ identifier, name }) => search === undefined || [identifier, foldText(name)].some(holds(search)))
      .filter((tenant) => after === undefined || newestFirst(after, tenant) < 0)
      .sort(newestFirst)
    const tenants = matching.slice(0, limit)
    const last = tenants.at(-1)
    return Object.freeze({
      tenants,
      ...(last !== undefined && matching.length > limit && { next: encodeCursor(last) }),
    })
  }

  return Object.freeze({
    async initialize() {},
    getById: async (id: string) => rows.get(id),
    getByIdentifier: async (identifier: string) => find((tenant) => tenant.identifier === identifier),
    getByIds: async (ids: readonly string[]) => [...new Set(ids)].flatMap((id) => rows.get(id) ?? []),
    insert: async (tenant: NewTenant) => insert(tenant),
    update: async (id: string, patch: TenantPatch, expectedVersion?: number) => update(id, patch, expectedVersion),
    setStatus: async (id: string, to: TenantStatus, from?: TenantStatus) => setStatus(id, to, from),
    discard: async (id: string) => rows.get(id)?.status === 'provisioning' && changes.delete(id) && rows.delete(id),
    list: async (options: ListOptions = {}) => list(options),
    count: async (status?: TenantStatus) => countWhere((tenant) => status === undefined || tenant.status === status),
    changes: (after?: string) =>
      readChanges(after, {
        last: async () => ({ number: last, incarnation }),
        changed: async (position, limit) =>
          [...changes]
            .filter(([, number]) => number > position.number)
            .slice(0, limit)
            .map(([id, number]) => ({ tenant: require(id), number })),
      }),
    hotTenants: async () => hot,
    noteHotTenants: async (ids: readonly string[]) => void (hot = Object.freeze([...ids])),
    async ping() {},
    async close() {},
  })
}

function patched(tenant: Tenant, { metadata, ...patch }: CheckedPatch): Partial<Tenant> {
  return metadata === undefined ? patch : { ...patch, metadata: merged(tenant.metadata, { metadata }) }
}

const holds = (part: string) => (text: string) => text.includes(part)

function changed(tenant: Tenant, change: Partial<Tenant>): Tenant {
  return { ...tenant, ...change, version: tenant.version + 1, updatedAt: new Date().toISOString() }
}

/** ISO 8601 of one length and lower-case hex sort as text the way the database sorts instants and UUIDs. */
function newestFirst(a: PagePosition, b: PagePosition): number {
  if (a.createdAt !== b.createdAt) return a.createdAt < b.createdAt ? 1 : -1
  if (a.id === b.id) return 0
  return a.id < b.id ? 1 : -1
}
