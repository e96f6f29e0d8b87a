import type { NewTenant, Tenant, TenantPatch, TenantStatus } from '../contracts/tenant.ts'
import { transitions } from '../contracts/tenant.ts'
import { type TenancyError, tenancyError } from '../errors.ts'
import { assertRegistrable } from '../util/identifier.ts'
import { checkRowKey } from '../util/row-key.ts'

/** What {@link checkPatch} gives: the fields to change, the metadata split into what is set and what is removed. */
export interface CheckedPatch {
  readonly identifier?: string
  readonly name?: string
  readonly metadata?: { readonly set: Readonly<Record<string, unknown>>; readonly remove: readonly string[] }
}

const MAX_NAME_LENGTH = 255
const IDS_OF_A_CHUNK = 500
const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const namespaceForm = /^[a-z][a-z0-9]{0,62}$/
/** In JSON text: NUL, or half a surrogate pair. PostgreSQL can store neither. */
const unstorableJson = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][0-9a-f]{2})/
/** Half a surrogate pair, or NUL. */
const unstorableText = /[\0\p{Surrogate}]/u
const noneReserved: ReadonlySet<string> = new Set()

/** True for an id in the form ids are stored in: a UUID in lower case. Nothing else is worth a look-up. */
export function isTenantId(id: unknown): id is string {
  return typeof id === 'string' && id.length === 36 && uuid.test(id)
}

/** False for a text that a database would refuse or change. */
export function isStorable(text: string): boolean {
  return !unstorableText.test(text)
}

/** The ids that are worth a look-up, each once, in parts of a size that every database takes in one statement. */
export function chunksOfIds(ids: readonly string[]): string[][] {
  const distinct = [...new Set(ids)].filter(isTenantId)
  const chunks = Math.ceil(distinct.length / IDS_OF_A_CHUNK)
  return Array.from({ length: chunks }, (_, n) => distinct.slice(n * IDS_OF_A_CHUNK, (n + 1) * IDS_OF_A_CHUNK))
}

/** The tenants of a chunk in the order of its ids: a database gives them in any. */
export function inOrderOf(ids: readonly string[], tenants: readonly Tenant[]): Tenant[] {
  const byId = new Map(tenants.map((tenant) => [tenant.id, tenant]))
  return ids.flatMap((id) => byId.get(id) ?? [])
}

/**
 * Checks a tenant to be inserted and gives a copy that shares nothing with it.
 * @throws TENANCY_ERR_TENANT_INVALID, TENANCY_ERR_IDENTIFIER_INVALID
 */
export function checkNewTenant(tenant: NewTenant): NewTenant {
  const { id, identifier, status, placement } = tenant
  if (!isTenantId(id)) throw invalid('its id must be a UUID in lower case.')
  assertRegistrable(identifier, noneReserved)
  if (!isStatus(status)) throw invalid('its status is not known.')
  const { strategy, server, namespace, rowKey } = placement
  for (const value of [strategy, server]) {
    if (typeof value !== 'string' || value === '' || !isStorable(value)) throw invalid('its placement is malformed.')
  }
  if (typeof namespace !== 'string' || !namespaceForm.test(namespace)) throw invalid('its namespace is malformed.')
  return {
    id,
    identifier,
    name: checkName(tenant.name),
    status,
    placement: { strategy, server, namespace, rowKey: checkRowKey(rowKey) },
    metadata: checkMetadata(tenant.metadata),
  }
}

/**
 * Checks a patch and takes from it only what a patch may change, so that a whole tenant handed in by mistake reverts
 * neither status nor placement.
 * @throws TENANCY_ERR_TENANT_INVALID, TENANCY_ERR_IDENTIFIER_INVALID
 */
export function checkPatch({ identifier, name, metadata }: TenantPatch): CheckedPatch {
  if (identifier !== undefined) assertRegistrable(identifier, noneReserved)
  return {
    ...(identifier !== undefined && { identifier }),
    ...(name !== undefined && { name: checkName(name) }),
    ...(metadata !== undefined && { metadata: splitMetadata(checkMetadata(metadata)) }),
  }
}

/**
 * What `metadata` is after this patch, as every store merges it.
 * @throws TENANCY_ERR_TENANT_INVALID, TENANCY_ERR_IDENTIFIER_INVALID
 */
export function mergeMetadata(metadata: Tenant['metadata'], patch: TenantPatch): Tenant['metadata'] {
  return merged(metadata, checkPatch(patch))
}

/** The same for a patch that is checked. */
export function merged(metadata: Tenant['metadata'], { metadata: change }: CheckedPatch): Tenant['metadata'] {
  if (change === undefined) return metadata
  const entries = Object.entries({ ...metadata, ...change.set })
  return Object.fromEntries(entries.filter(([key]) => !change.remove.includes(key)))
}

/** The error of a tenant that no store takes; `reason` is a sentence. */
export function invalid(reason: string, cause?: unknown): TenancyError {
  return tenancyError('TENANCY_ERR_TENANT_INVALID', [reason], cause)
}

function isStatus(status: unknown): status is TenantStatus {
  return typeof status === 'string' && Object.hasOwn(transitions, status)
}

function checkName(name: unknown): string {
  if (typeof name !== 'string' || name.length < 1 || name.length > MAX_NAME_LENGTH || !isStorable(name)) {
    throw invalid(`its name must be a text of 1 to ${MAX_NAME_LENGTH} characters.`)
  }
  return name
}

/**
 * A copy of `metadata` as it will be stored.
 * @throws TENANCY_ERR_TENANT_INVALID
 */
export function checkMetadata(metadata: unknown): Record<string, unknown> {
  const text = toJson(metadata)
  const copy: unknown = text === undefined ? undefined : JSON.parse(text)
  if (typeof copy !== 'object' || copy === null || Array.isArray(copy)) {
    throw invalid('its metadata must be a JSON object.')
  }
  if (unstorableJson.test(text ?? '')) throw invalid('its metadata holds a NUL or half a surrogate pair.')
  return copy as Record<string, unknown>
}

function toJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}

function splitMetadata(metadata: Record<string, unknown>): NonNullable<CheckedPatch['metadata']> {
  const entries = Object.entries(metadata)
  return {
    set: Object.fromEntries(entries.filter(([, value]) => value !== null)),
    remove: entries.filter(([, value]) => value === null).map(([key]) => key),
  }
}
