import type { SharedTables } from '../../../contracts/shared-tables.ts'
import { sharedNaming } from '../layout.ts'
import type { NamespaceTransaction } from '../namespace-session.ts'
import { sqliteProfile } from '../profile.ts'

const { quoteName } = sqliteProfile
const VERBS = ['insert', 'update', 'delete'] as const

/** A file has no rights: triggers refuse every change of what tenants only read, whatever statement makes it. */
export interface Trigger {
  readonly name: string
  readonly sql: string
}

/** What the names of our triggers hold, and no name of a user should. */
const INFIX = '__tenancy_no_'

/** The table whose one row opens the triggers; it is only ever there inside a transaction of the admin connection. */
function doorName({ schema }: Pick<SharedTables, 'schema'>): string {
  return quoteName(`${sharedNaming(schema).prefix}__tenancy_admin`)
}

/** Opens and closes what tenants only read, for one transaction that nobody sees before it is closed again. */
export interface Door {
  readonly make: string
  readonly open: string
  readonly close: string
}

/** The statements of the door of these tables. */
export function doorOf(shared: Pick<SharedTables, 'schema'>): Door {
  const name = doorName(shared)
  return Object.freeze({
    make: `create table if not exists ${name} (open integer not null)`,
    open: `insert into ${name} values (1)`,
    close: `delete from ${name}`,
  })
}

/** The triggers that keep a table as it is. */
export function triggersOf(shared: Pick<SharedTables, 'schema'>, table: string): Trigger[] {
  const full = sharedNaming(shared.schema).prefix + table
  const message = `${table} is a table that all tenants share and none may write (sharedWritable)`.replaceAll("'", "''")
  return VERBS.map((verb) => {
    const name = full + INFIX + verb
    const when = `when not exists (select 1 from ${doorName(shared)})`
    return {
      name,
      sql: `CREATE TRIGGER ${quoteName(name)} before ${verb} on ${quoteName(full)} ${when} begin select raise(abort, '${message}'); end`,
    }
  })
}

/** Removes the triggers that are not among these, and makes those that are missing or different. */
export async function setTriggers(
  { query, run }: NamespaceTransaction,
  { schema }: Pick<SharedTables, 'schema'>,
  wanted: readonly Trigger[],
): Promise<void> {
  const { prefix } = sharedNaming(schema)
  const stored = await query<Trigger>(
    `select name, sql from sqlite_schema where type = 'trigger' and substr(name, 1, ?) = ? and instr(name, ?) > 0`,
    [prefix.length, prefix, INFIX],
  )
  const isIn = (list: readonly Trigger[], { name, sql }: Trigger) =>
    list.some((one) => one.name === name && one.sql === sql)
  for (const trigger of stored) if (!isIn(wanted, trigger)) await run(`drop trigger ${quoteName(trigger.name)}`)
  for (const trigger of wanted) if (!isIn(stored, trigger)) await run(trigger.sql)
}
