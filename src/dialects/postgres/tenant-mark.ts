import type { Scope } from '../../contracts/isolation.ts'

/** What is marked as this tenant's alone. */
export function tenantMark({ tenantId }: Pick<Scope, 'tenantId'>): string {
  return `fastify-tenancy tenant ${tenantId}`
}
