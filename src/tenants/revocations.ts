import type { Tenant } from '../contracts/tenant.ts'

/** Which tenants are no longer served, for who holds a database of one. */
export interface Revocations {
  has(id: string): boolean
  /** Takes in what a tenant is now; true when it is no longer served. A version from before it was revoked changes nothing. */
  learn(tenant: Tenant): boolean
  /** Revokes a tenant that is not in the registry any more. */
  revoke(id: string): void
  /** Notes that somebody can use a database of a tenant as long as `holder` lives. */
  hold(id: string, holder: object): void
  /**
   * Keeps all revoked, but until any version of them is learned: those of another registry mean nothing.
   * @returns whom to ask for: who is revoked, and of whom a database is held
   */
  doubt(): Set<string>
}

/** Of a registry that is another one now: whatever is read next is newer. */
const OUTDATED = 0

/**
 * Remembers each tenant that was served once and is not any more, so there are never more of them than the registry has; and of
 * whom a database is held, until it is garbage.
 */
export function createRevocations(): Revocations {
  /** By id, the version that said so. */
  const revoked = new Map<string, number>()
  /** By id, how many holders live. */
  const held = new Map<string, number>()
  const collected = new FinalizationRegistry<string>((id) => {
    const left = (held.get(id) ?? 0) - 1
    if (left > 0) held.set(id, left)
    else held.delete(id)
  })
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
    hold(id: string, holder: object) {
      held.set(id, (held.get(id) ?? 0) + 1)
      collected.register(holder, id)
    },
    doubt() {
      for (const id of revoked.keys()) revoked.set(id, OUTDATED)
      return new Set([...revoked.keys(), ...held.keys()])
    },
  })
}
