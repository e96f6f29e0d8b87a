import type { SharedTables } from '../../contracts/shared-tables.ts'
import { DdlRefusal } from '../../contracts/migrator.ts'
import type { Naming } from '../naming.ts'
import type { SqlProfile } from '../profile.ts'
import { tenantName } from '../scoped-text.ts'

/** The tables that all tenants use, as the DDL of one tenant may name them: behind REFERENCES, and nowhere else. */
export interface SharedNames {
  /** Whether a name is one of them in any spelling. */
  knows(name: string): boolean
  /**
   * The full name behind REFERENCES.
   * @param changes whether the key changes rows when what it refers to changes or goes
   * @throws DdlRefusal for another spelling than the configured one, and for such a key to what tenants may write
   */
  reference(name: string, changes?: boolean): string
  /** What may stand before the name and means the same. */
  readonly schema: string
  /** Why it cannot stand anywhere else. @throws DdlRefusal */
  refuse(name: string): never
}

/** Why a foreign key to a table that tenants write must not change rows. */
export function carriedOn(parent: string): string {
  return `tenants may write ${parent}, and a foreign key to it with CASCADE, SET NULL or SET DEFAULT would carry that on into rows of others; use NO ACTION or RESTRICT`
}

/** `naming` is what their full names look like. */
export function sharedNames(
  shared: SharedTables | undefined,
  naming: Naming,
  profile: SqlProfile,
): SharedNames | undefined {
  if (shared === undefined) return undefined
  const exact = new Set(shared.names)
  const known = new Set(shared.names.map((name) => name.toLowerCase()))
  const refuse = (name: string): never => {
    throw new DdlRefusal(
      `${name} is a table that all tenants share (sharedTables): a migration of a tenant may only refer to it, with REFERENCES; it is changed by \`sharedMigrations\``,
    )
  }
  return Object.freeze({
    schema: shared.schema,
    knows: (name) => known.has(name.toLowerCase()),
    reference(name, changes = false) {
      if (!exact.has(name)) refuse(name)
      if (changes && shared.writable.includes(name)) throw new DdlRefusal(carriedOn(name))
      return tenantName(name, naming, profile)
    },
    refuse,
  } satisfies SharedNames)
}
