import { tenancyError } from '../../../errors.ts'
import type { MysqlStatement } from './mysql-types.ts'

/** What `query()` accepts besides a text. */
export interface MysqlQueryConfig {
  readonly sql: string
  readonly values?: readonly unknown[] | undefined
  readonly rowsAsArray?: boolean | undefined
  readonly typeCast?: unknown
}

/**
 * What mysql2 needs of a query and nothing else: its other options read files, allow several statements, or write the text
 * anew. Read once, so that what is checked is what is sent.
 * @throws TENANCY_ERR_STATEMENT_REFUSED
 */
export function statementOf(config: string | MysqlQueryConfig, more?: readonly unknown[]): MysqlStatement {
  const { sql, values, rowsAsArray, typeCast } =
    typeof config === 'string' ? ({ sql: config } as MysqlQueryConfig) : config
  if (typeof (sql as unknown) !== 'string') throw refused('a query without text')
  return {
    sql,
    values: parametersOf(more ?? values ?? []),
    ...(rowsAsArray !== undefined && { rowsAsArray }),
    ...(typeof typeCast === 'function' && { typeCast }),
  }
}

/**
 * Parameters as mysql2 writes them into the text as one constant each, whatever they are: it would expand an object to
 * `name = value`, an array to a list, and run `toSqlString()` of either.
 */
function parametersOf(values: unknown): unknown[] {
  if (!Array.isArray(values)) throw refused('parameters that are no array')
  return values.map(parameterOf)
}

function parameterOf(value: unknown): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'bigint':
      return value
    case 'undefined':
      return null
    case 'number':
      // It would be written as a name.
      if (!Number.isFinite(value)) throw refused('a number that is not finite as parameter')
      return value
    case 'object':
      if (value === null) return null
      // Copies, which have no members but their own.
      if (value instanceof Date) return new Date(value.getTime())
      if (value instanceof Uint8Array) return Buffer.from(value)
      return JSON.stringify(value)
    default:
      throw refused(`a ${typeof value} as parameter`)
  }
}

function refused(what: string) {
  return tenancyError('TENANCY_ERR_STATEMENT_REFUSED', [what])
}
