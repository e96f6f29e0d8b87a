import type { VerifyReport } from '../../../contracts/verification.ts'
import { check, report } from '../../../verification/report.ts'
import { verifyRls } from '../rls/verify.ts'
import { databaseFaults } from './database-faults.ts'
import { type NamespaceTrial, verifyNamespace } from './verify-namespace.ts'

/** What {@link verifyScope} needs. */
export interface ScopeTrial extends NamespaceTrial {
  /** Null when the admin connection serves too. */
  readonly role: string | null
}

/**
 * Finds out whether the tenant of a scope is kept apart, whatever keeps it so. `ok: false` means that it is not. Not to
 * find out is an error.
 * @throws TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_POOL_TIMEOUT, and what the database answers unexpectedly
 */
export async function verifyScope(trial: ScopeTrial): Promise<VerifyReport> {
  const { server, scope, shared, role } = trial
  if (scope.strategy === 'rls') return verifyRls(server, shared)
  if (scope.strategy !== 'database') return verifyNamespace(trial)
  const faults = await databaseFaults(server.admin.query, scope, role)
  const checks = Object.entries(faults).map(([name, list]) => check(name, list))
  // Nobody is sent into a database that may be somebody else's.
  if (faults['database']?.length !== 0) return report(checks)
  const inside = await verifyNamespace(trial)
  return report([...checks, ...inside.checks], inside.warnings)
}
