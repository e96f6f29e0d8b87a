import type { Scope } from '../../contracts/isolation.ts'
import type { Layout } from './layout.ts'
import { asciiIdentifier, asciiLiteral, isAscii, quoteIdentifier } from './quote.ts'

/**
 * The SQL of a scope, made once per tenant. Nothing in it but ASCII: a tenant can leave a session with a `client_encoding` in which the
 * server reads the rest as the value of somebody else, or takes the byte that ends a value for a part of it.
 */
export interface ScopeSql {
  /**
   * One parametrised `select set_config(…, true)`: sent in the same flush as the user's statement, it ends with it. Unlike
   * SET LOCAL it raises no warning in an implicit transaction.
   */
  readonly text: string
  readonly values: readonly string[]
  /** The same as SET LOCAL, sent in one message with BEGIN: a SELECT would take the snapshot too early for SET TRANSACTION. */
  readonly setLocal: string
  /** The same as SET: for the one session of an embedded database, where it costs a statement no BEGIN and COMMIT. */
  readonly set: string
  /**
   * Sent in the same flush before every statement of an explicit transaction. The statement before may have changed the role,
   * which a login may do that serves many of them. Absent where nothing needs it.
   */
  readonly again: string | undefined
}

/** Everything isolation depends on, in the two forms PostgreSQL needs it. */
export function scopeSql(scope: Scope, layout: Layout): ScopeSql {
  const searchPath = layout.searchPath.map(quoteIdentifier).join(', ')
  const localPath = layout.searchPath.map(asciiIdentifier).join(', ')
  const settings = Object.entries(scope.settings)
  const { role } = layout
  const again = role === undefined ? undefined : `set local role ${asciiIdentifier(role)}`
  const values = ['search_path', searchPath, ...settings.flat(), ...(role === undefined ? [] : ['role', role])]
  const calls = Array.from(
    { length: values.length / 2 },
    (_, i) => `pg_catalog.set_config($${2 * i + 1},${parameter(values[2 * i + 1], 2 * i + 2)},true)`,
  )
  const settingsTo = [
    `search_path to ${localPath}`,
    ...settings.map(([name, value]) => `${settingName(name)} to ${asciiLiteral(value)}`),
    ...(role === undefined ? [] : [`role ${asciiIdentifier(role)}`]),
  ]
  return Object.freeze({
    text: `select ${calls.join(',')}`,
    values: Object.freeze(values.map((value) => (isAscii(value) ? value : Buffer.from(value).toString('hex')))),
    setLocal: settingsTo.map((setting) => `set local ${setting}`).join(';'),
    set: settingsTo.map((setting) => `set ${setting}`).join(';'),
    again,
  })
}

/** What stands for a value that is sent in digits where it is not ASCII. */
function parameter(value: string | undefined, number: number): string {
  return isAscii(value ?? '') ? `$${number}` : `pg_catalog.convert_from(pg_catalog.decode($${number},'hex'),'UTF8')`
}

function settingName(name: string): string {
  return name.split('.').map(quoteIdentifier).join('.')
}
