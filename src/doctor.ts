import type { DatabaseServer } from './contracts/dialect.ts'
import type { StrategyName } from './contracts/tenant.ts'
import type { DoctorReport } from './contracts/verification.ts'
import { isTenancyError, tenancyError } from './errors.ts'
import { promisesOf } from './isolation/promises.ts'

/**
 * Looks at what tenants share and says what each strategy promises.
 * @throws TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_VERIFY_FAILED
 */
export async function diagnose(
  { inspect }: Pick<DatabaseServer, 'inspect'>,
  strategies: readonly StrategyName[],
  config: { readonly tenantRoles?: boolean | undefined } = {},
): Promise<DoctorReport> {
  try {
    const { rules, findings } = await inspect()
    return Object.freeze({
      ok: findings.every(({ severity }) => severity !== 'error'),
      promises: promisesOf(strategies, config),
      rules,
      findings,
    })
  } catch (error) {
    if (isTenancyError(error)) throw error
    throw tenancyError('TENANCY_ERR_VERIFY_FAILED', ['the database answered with an error, see `cause`'], error)
  }
}
