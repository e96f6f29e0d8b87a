import { currentContext, TenancyContext } from '../../src/context.ts'
import type { Guard } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { tenancyError } from '../../src/errors.ts'

/** What a context needs of the product; nothing here asks for the current tenant's database. */
export const NOBODY = { databaseOf: () => ({}), run: () => Promise.reject(new Error('not here')) }

/** Where a request of this tenant runs. */
export function contextOf({ tenantId }: Scope): TenancyContext {
  return new TenancyContext(NOBODY, { id: tenantId } as never)
}

/** The product's own rule: a database works for its tenant, and outside of any. */
export function guardOf({ tenantId }: Scope): Guard {
  return (moment) => {
    const current = currentContext()?.tenant
    if (moment !== 'send' && current !== undefined && current.id !== tenantId) {
      throw tenancyError('TENANCY_ERR_TENANT_MISMATCH')
    }
  }
}
