import { tenancyError } from '../../errors.ts'

/** Quotes a name. https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS */
export function quoteIdentifier(name: string): string {
  return `"${refuseNul(name).replaceAll('"', '""')}"`
}

/** Quotes a text constant, whatever `standard_conforming_strings` says. */
export function quoteLiteral(value: string): string {
  const doubled = refuseNul(value).replaceAll("'", "''")
  return doubled.includes('\\') ? ` E'${doubled.replaceAll('\\', '\\\\')}'` : `'${doubled}'`
}

function refuseNul(text: string): string {
  // PostgreSQL ends a text at NUL: what follows would silently be lost.
  if (text.includes('\0')) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a name or value contains NUL'])
  return text
}
