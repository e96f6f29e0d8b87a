import type { ResolvableRequest, TenantResolver } from '../contracts/resolver.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { parseIdentifier, quoteReceived } from '../util/identifier.ts'
import { refused } from './refusal.ts'

/** What the resolvers make of more than one reading of a request. */
const AMBIGUOUS = 'malformed: empty, ambiguous, or not the same to all resolvers'

/** May this caller act for this tenant? */
export type Authorize<TRequest> = (tenant: Tenant, request: TRequest) => boolean | Promise<boolean>

/** The tenants as admission sees them. */
export interface TenantLookup {
  /** What is known without waiting: the tenant, `null` for none, `undefined` for not known. */
  peek(identifier: string): Tenant | null | undefined
  resolve(identifier: string): Promise<Tenant | undefined>
}

/** Options of {@link createAdmission}. */
export interface AdmissionOptions<TRequest extends ResolvableRequest> {
  readonly resolver: TenantResolver<TRequest>
  readonly tenants: TenantLookup
  readonly authorize: Authorize<TRequest> | undefined
}

/**
 * Turns a request into the tenant that it may be served for. Answers without a promise when the tenant is warm and
 * nothing async is asked.
 *
 * Missing, malformed, unknown, not yet or no longer served, and refused by `authorize`: one error,
 * TENANCY_ERR_TENANT_UNKNOWN, so that nobody learns who is a customer. Suspended is told only to a caller that
 * `authorize` accepted, or to all when there is none.
 *
 * @throws TENANCY_ERR_TENANT_UNKNOWN, TENANCY_ERR_TENANT_SUSPENDED, TENANCY_ERR_STORE_UNAVAILABLE
 */
export function createAdmission<TRequest extends ResolvableRequest>({
  resolver,
  tenants,
  authorize,
}: AdmissionOptions<TRequest>): (request: TRequest) => Tenant | Promise<Tenant> {
  const admit = (tenant: Tenant | null | undefined, request: TRequest): Tenant | Promise<Tenant> => {
    if (tenant?.status !== 'active' && tenant?.status !== 'suspended') {
      throw refused(tenant ? `status ${tenant.status}` : 'unknown')
    }
    const accepted = authorize === undefined || authorize(tenant, request)
    return accepted instanceof Promise ? accepted.then((answer) => accept(tenant, answer)) : accept(tenant, accepted)
  }
  const lookUp = (claim: string | undefined, request: TRequest): Tenant | Promise<Tenant> => {
    const identifier = parseIdentifier(claim)
    if (identifier === undefined)
      throw refused(claim === undefined ? 'no claim' : claim === '' ? AMBIGUOUS : 'malformed')
    const warm = tenants.peek(identifier)
    if (warm !== undefined) return admit(warm, request)
    return tenants.resolve(identifier).then((tenant) => admit(tenant, request))
  }
  return (request: TRequest): Tenant | Promise<Tenant> => {
    const claim = resolver.resolve(request)
    return claim instanceof Promise ? claim.then((value) => lookUp(value, request)) : lookUp(claim, request)
  }
}

/** Whether a tenant that was loaded without a request may be worked for. @param ref what it was loaded by, for the message */
export function assertServed(tenant: Tenant | undefined, ref: string): Tenant {
  if (tenant?.status !== 'active' && tenant?.status !== 'suspended') {
    throw tenancyError('TENANCY_ERR_TENANT_UNKNOWN', [` ${quoteReceived(ref)}`])
  }
  return accept(tenant, true)
}

function accept(tenant: Tenant, accepted: unknown): Tenant {
  // Anything but a clear yes is a no: a hook that forgets to return must not open the door.
  if (accepted !== true) {
    throw refused(accepted === false ? 'authorize said no' : `authorize returned ${typeOf(accepted)}, not true`)
  }
  if (tenant.status === 'suspended') throw tenancyError('TENANCY_ERR_TENANT_SUSPENDED')
  return tenant
}

function typeOf(value: unknown): string {
  return value === null ? 'null' : typeof value
}
