import { DdlRefusal } from '../../../src/contracts/migrator.ts'
import { parseNamedDdl } from '../../../src/sql/ddl/named-ddl.ts'
import { type Naming, prefixedName } from '../../../src/sql/naming.ts'
import type { SqlProfile } from '../../../src/sql/profile.ts'
import { tenantName } from '../../../src/sql/scoped-text.ts'

/*
 * Statements with their names marked: «orders» gets qualifier and prefix, ‹orders_pkey› the prefix only, «public.orders»
 * is written with the schema that is dropped. Everything outside of the marks must stay as it is.
 */

const MARK = /«(public\.)?([^»]*)»|‹([^›]*)›/g

/** What the user's migration says. */
export function plain(marked: string, profile: SqlProfile): string {
  const quote = (name: string) => profile.quoteName(name)
  return marked.replace(MARK, (_, own: string | undefined, object: string | undefined, name: string | undefined) =>
    own === undefined ? quote(object ?? name ?? '') : `${quote('public')}.${quote(object ?? '')}`,
  )
}

/** What a tenant's migration must say. */
export function expected(marked: string, naming: Naming, profile: SqlProfile): string {
  const own = (name: string) =>
    profile.quoteName(naming.prefix === '' ? name : prefixedName(naming.prefix, name, profile.maxNameBytes))
  return marked.replace(MARK, (_, __, object: string | undefined, name: string | undefined) =>
    object === undefined ? own(name ?? '') : tenantName(object, naming, profile),
  )
}

/** What the rewriter makes of it, or why it refuses. */
export function rendered(sql: string, naming: Naming, profile: SqlProfile): string {
  try {
    return parseNamedDdl(sql, profile).render(naming)
  } catch (error) {
    if (!(error instanceof DdlRefusal)) throw error
    return `refused: ${error.message}`
  }
}
