import type { Tenant } from '../contracts/tenant.ts'

/** Which tenants are no longer served, for who holds a database of one. */
export interface Revocations {
  has(id: string): boolean
  /** Takes in what a tenant is now; true when it is no longer served. A version from before it was revoked changes nothing. */
  learn(tenant: Tenant): boolean
  /** Revokes a tenant that is not in the registry any more. */
  revoke(id: string): void
  /** Keeps all revoked, but until any version of them is learned: those of another registry mean nothing. @returns their ids */
  doubt(): readonly string[]
}

/** Of a registry that is another one now: whatever is read next is newer. */
const OUTDATED = 0

/** Remembers each tenant that was served once and is not any more, so there are never more of them than the registry has. */
export function createRevocations(): Revocations {
  /** By id, the version that said so. */
  const revoked = new Map<string, number>()
  return Object.freeze({
    has: (id: string) => revoked.has(id),
    learn({ id, status, version }: Tenant): boolean {
      // Nobody was ever served it, and one that is discarded would stay here for ever.
      if (status === 'provisioning') return false
      if (status !== 'active') revoked.set(id, version)
      else if ((revoked.get(id) ?? OUTDATED) < version) revoked.delete(id)
      return revoked.has(id)
    },
    revoke: (id: string) => void revoked.set(id, OUTDATED),
    doubt() {
      const ids = [...revoked.keys()]
      for (const id of ids) revoked.set(id, OUTDATED)
      return ids
    },
  })
}
