import type { TenantSecret } from '../contracts/cipher.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { isTenancyError } from '../errors.ts'
import { isOutdatedSecret, isTenantSecret } from './tenant-secret.ts'

/** What of a tenant's metadata a write would seal otherwise today. */
export interface OutdatedSecrets {
  /** Those keys of the top level with their values, ready for an update; empty when there are none. */
  readonly metadata: Readonly<Record<string, unknown>>
  /** Those keys that cannot be sealed anew, because a value in them does not open. */
  readonly unreadable: readonly string[]
}

/** @throws TENANCY_ERR_KMS_UNAVAILABLE */
export async function outdatedSecrets(tenant: Tenant): Promise<OutdatedSecrets> {
  const readable: [string, unknown][] = []
  const unreadable: string[] = []
  for (const [key, value] of Object.entries(tenant.metadata)) {
    const secrets = secretsIn(value)
    if (!secrets.some(isOutdatedSecret)) continue
    if (await allOpen(secrets)) readable.push([key, value])
    else unreadable.push(key)
  }
  return { metadata: Object.fromEntries(readable), unreadable }
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
