import type { ListOptions, TenantFilter } from '../contracts/store.ts'
import { type TenantPatch, type TenantStatus, transitions } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { assertFields } from '../util/fields.ts'
import { quoteReceived } from '../util/identifier.ts'

/*
 * What a caller hands to the verbs of `app.tenancy`, which in JavaScript may be anything. A filter that is misspelt must not
 * mean all tenants, nor a change that is none pass for done. All throw TENANCY_ERR_TENANT_INVALID.
 */

const PATCH: readonly (keyof TenantPatch)[] = ['identifier', 'name', 'metadata']
const FILTER: readonly (keyof TenantFilter)[] = ['status', 'search']
const LIST: readonly (keyof ListOptions)[] = [...FILTER, 'limit', 'after']

/** An identifier, or an object with an id, which a whole tenant is too. */
export function checkRef(ref: unknown): void {
  if (typeof ref === 'string') return
  const id: unknown = typeof ref === 'object' && ref !== null && 'id' in ref ? ref.id : undefined
  if (typeof id !== 'string') throw expected('a tenant', 'an identifier or { id }', ref)
}

export function checkPatchFields(patch: unknown, expectedVersion: unknown): void {
  assertFields('a patch', patch, PATCH)
  if (expectedVersion !== undefined && !Number.isInteger(expectedVersion)) {
    throw expected('`expectedVersion`', 'a whole number', expectedVersion)
  }
}

export function checkListOptions(options: unknown = {}): void {
  assertFields('the options of a list', options, LIST)
  checkStatus(options as { readonly status?: unknown })
}

export function checkFilter(filter: unknown = {}): void {
  assertFields('a filter', filter, FILTER)
  checkStatus(filter as { readonly status?: unknown })
}

/** `what` names the list in the error. */
export function checkArray(what: string, list: unknown): void {
  if (!Array.isArray(list)) throw expected(what, 'an array', list)
}

/** `what` names the function in the error. */
export function checkFunction(what: string, work: unknown): void {
  if (typeof work !== 'function') throw expected(what, 'a function', work)
}

function checkStatus({ status }: { readonly status?: unknown }): void {
  if (status === undefined || (typeof status === 'string' && Object.hasOwn(transitions, status))) return
  const all = Object.keys(transitions) as TenantStatus[]
  throw expected('`status`', `one of ${all.join(', ')}`, status)
}

function expected(what: string, form: string, received: unknown) {
  return tenancyError('TENANCY_ERR_TENANT_INVALID', [`${what} must be ${form}, received ${quoteReceived(received)}`])
}
