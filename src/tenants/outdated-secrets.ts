import type { TenantSecret } from '../contracts/cipher.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { isTenancyError } from '../errors.ts'
import { isOutdatedSecret, isTenantSecret } from './tenant-secret.ts'

/**
 * What of a tenant's metadata a write would seal otherwise today: those keys of the top level with their values, ready for an
 * update. One of which a value does not open is left out, because it cannot be sealed anew.
 * @throws TENANCY_ERR_KMS_UNAVAILABLE
 */
export async function outdatedSecrets(tenant: Tenant): Promise<Tenant['metadata']> {
  const outdated: [string, unknown][] = []
  for (const [key, value] of Object.entries(tenant.metadata)) {
    const secrets = secretsIn(value)
    if (secrets.some(isOutdatedSecret) && (await allOpen(secrets))) outdated.push([key, value])
  }
  return Object.fromEntries(outdated)
}

/**
 * Whether every secret of a tenant opens, those too that a write would leave as they are: their id does not tell whether the key of
 * that id is the right one.
 * @throws TENANCY_ERR_KMS_UNAVAILABLE
 */
export function secretsOpen({ metadata }: Tenant): Promise<boolean> {
  return allOpen(secretsIn(metadata))
}

async function allOpen(secrets: readonly TenantSecret[]): Promise<boolean> {
  try {
    for (const secret of secrets) await secret.reveal()
    return true
  } catch (error) {
    if (isTenancyError(error, 'TENANCY_ERR_KMS_UNAVAILABLE')) throw error
    return false
  }
}

function secretsIn(value: unknown): TenantSecret[] {
  const secrets: TenantSecret[] = []
  const left = [value]
  while (left.length > 0) {
    const current = left.pop()
    if (isTenantSecret(current)) secrets.push(current)
    else if (typeof current === 'object' && current !== null) {
      // One by one: a call takes only so many parameters.
      for (const value of Object.values(current) as unknown[]) left.push(value)
    }
  }
  return secrets
}
