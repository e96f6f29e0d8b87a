import type { Scope } from '../../contracts/isolation.ts'

/** What is marked as this tenant's alone. */
export function tenantMark({ tenantId }: Pick<Scope, 'tenantId'>): string {
  return `fastify-tenancy tenant ${tenantId}`
}

/**
 * What the schema of a tenant is marked with while one that exists is brought in. It is empty when `announced` and `givenUp`; `adopted` is
 * what nobody was served yet. Who looks for the mark of the tenant finds none of them.
 */
export function adoptionMarks(scope: Pick<Scope, 'tenantId'>) {
  const mark = tenantMark(scope)
  return { announced: `${mark} to adopt`, adopted: `${mark} adopted`, givenUp: `${mark} not to adopt` } as const
}
