import type { AdminConnection } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import type { SharedSchema } from './catalogue.ts'
import { type Finding, inspect } from './findings.ts'

/**
 * Makes the database itself keep tenants apart in every table of the shared schema: ENABLE and FORCE ROW LEVEL SECURITY,
 * two policies, NOT NULL and a default for the tenant column, an index that begins with it, no TRUNCATE. What is there
 * already is left as it is, so that a second run changes nothing.
 *
 * Refuses what policies could not hold: a table without a tenant, a foreign key that could refer to another tenant's row,
 * a function with the rights of its owner.
 * @throws TENANCY_ERR_RLS_UNPROTECTABLE
 */
export async function protect(query: AdminConnection['query'], at: SharedSchema): Promise<void> {
  const found = await inspect(query, at)
  refuse(found.filter(({ repair }) => repair.length === 0))
  const repairs = found.flatMap(({ repair }) => repair)
  if (repairs.length === 0) return
  for (const statement of repairs) await query(statement)
  // A repair may not have been enough, such as a right that comes by way of another role. Policies were just made anew:
  // a later PostgreSQL that writes them in another way must not stop every migration.
  refuse((await inspect(query, at)).filter(({ rule }) => rule !== 'policies'))
}

function refuse(findings: readonly Finding[]): void {
  const breach = findings.find(({ severity }) => severity === 'breach')
  if (breach !== undefined) throw tenancyError('TENANCY_ERR_RLS_UNPROTECTABLE', [breach.detail])
}
