import { tenancyError } from '../../../errors.ts'
import { placeholdersOf } from '../../../sql/placeholders.ts'
import { mysqlProfile } from '../profile.ts'
import type { MysqlConnection, MysqlStatement, MysqlWireStatement } from './mysql-types.ts'

type TypeCast = (field: unknown, next: () => unknown) => unknown

/**
 * A statement as it is handed to mysql2: its parameters are in the text already. mysql2 would look for placeholders by
 * rules of its own, which know no hints and in older versions no strings, and write a `??` as a name.
 *
 * A `typeCast` is called without mysql2's `this`, which leads to the pool and its password; `threw` is told when it throws:
 * mysql2 then leaves the other rows on the connection, whatever the error looks like.
 * @throws TENANCY_ERR_STATEMENT_REFUSED when parameters and placeholders do not match
 */
export function wireStatement(
  { sql, values, rowsAsArray, typeCast }: MysqlStatement,
  connection: Pick<MysqlConnection, 'escape'>,
  threw: () => void,
): MysqlWireStatement {
  return {
    sql: written(sql, values, connection),
    values: null,
    ...(rowsAsArray !== undefined && { rowsAsArray }),
    ...(typeof typeCast === 'function' && { typeCast: contained(typeCast as TypeCast, threw) }),
  }
}

function written(sql: string, values: readonly unknown[], connection: Pick<MysqlConnection, 'escape'>): string {
  const places = placeholdersOf(sql, mysqlProfile)
  if (places.length !== values.length) throw refused(`${values.length} parameters for ${places.length} placeholders`)
  let text = ''
  let from = 0
  for (const [i, at] of places.entries()) {
    if (places[i + 1] === at + 1) throw refused('`??`, which would be a name; names are written into the text')
    text += sql.slice(from, at) + connection.escape(values[i])
    from = at + 1
  }
  return text + sql.slice(from)
}

function contained(typeCast: TypeCast, threw: () => void): TypeCast {
  return function cast(field, next) {
    try {
      return typeCast(field, next)
    } catch (error) {
      threw()
      throw error
    }
  }
}

function refused(what: string) {
  return tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [what])
}
