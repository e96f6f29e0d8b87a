import type { AdminConnection } from '../../../contracts/dialect.ts'
import { grantCovers } from '../grant-pattern.ts'

/** What an account may do in one database. */
export interface HeldRights {
  /** Rights on single tables, such as `SELECT` and `UPDATE (name)`. */
  readonly byTable: ReadonlyMap<string, readonly string[]>
  /** A right on more than single tables, or a role, whose rights are not told; undefined when there is none. */
  readonly wider: string | undefined
}

const GRANT = /^GRANT (.+?)(?: ON (?:TABLE )?(\S+))? TO /
const NAME = '(?:`((?:[^`]|``)*)`|(\\*))'
const OBJECT = new RegExp(String.raw`^${NAME}\.${NAME}$`)

/** Asks an account for its own rights. */
export async function heldRights(query: AdminConnection['query'], database: string): Promise<HeldRights> {
  const lines = (await query<Record<string, string>>('show grants')).map((row) => Object.values(row)[0] ?? '')
  return readGrants(lines, database)
}

/** Reads what SHOW GRANTS says. */
export function readGrants(lines: readonly string[], database: string): HeldRights {
  const byTable = new Map<string, readonly string[]>()
  let wider: string | undefined
  for (const line of lines) {
    const [, rights = '', object] = GRANT.exec(line) ?? []
    if (object === undefined) {
      // `GRANT role TO account`; anything else that is not read, such as SET DEFAULT ROLE, speaks of one too.
      wider ??= rights === '' ? line : `the role ${rights}`
      continue
    }
    const [, schema, everything, table] = OBJECT.exec(object) ?? []
    const ofDatabase =
      everything !== undefined ||
      (schema !== undefined && (table === undefined ? grantCovers(schema, database) : unquoted(schema) === database))
    if (!ofDatabase || rights === 'USAGE') continue
    if (table === undefined) wider ??= `${rights} on ${object}`
    else byTable.set(unquoted(table), rightsOf(rights))
  }
  return { byTable, wider }
}

function unquoted(name: string): string {
  return name.replaceAll('``', '`')
}

/** Cuts at the commas that are not inside the parentheses of a list of columns. */
function rightsOf(rights: string): string[] {
  return rights.split(/, (?![^()]*\))/)
}
