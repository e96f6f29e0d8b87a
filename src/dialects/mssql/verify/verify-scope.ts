import type { VerifyReport } from '../../../contracts/verification.ts'
import type { ScopeTrial } from './trial.ts'
import { verifyNamespace } from './verify-namespace.ts'
import { verifyRls } from './verify-rls.ts'

/**
 * Finds out whether the tenant of a scope is kept apart. `ok: false` means that it is not. Not to find out is an error.
 * @throws TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_POOL_TIMEOUT, and what the database answers unexpectedly
 */
export function verifyScope(trial: ScopeTrial): Promise<VerifyReport> {
  return trial.scope.strategy === 'rls' ? verifyRls(trial) : verifyNamespace(trial)
}
