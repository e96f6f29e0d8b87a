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

/** {@link quoteIdentifier} in ASCII alone, which means the same whatever `client_encoding` a session was left with. */
export function asciiIdentifier(name: string): string {
  const quoted = quoteIdentifier(name)
  return isAscii(name) ? quoted : `U&${escaped(quoted.replaceAll('\\', '\\\\'), '\\')}`
}

/** {@link quoteLiteral} in ASCII alone. */
export function asciiLiteral(value: string): string {
  const quoted = quoteLiteral(value)
  return isAscii(value) ? quoted : escaped(quoted.replace(/^'/, " E'"), '\\u')
}

/** Whether all of it can be seen and is ASCII. */
export function isAscii(text: string): boolean {
  return /^[ -~]*$/.test(text)
}

/** Surrogates too are written one by one. */
function escaped(text: string, mark: string): string {
  return text.replaceAll(/[^ -~]/g, (unit) => mark + unit.charCodeAt(0).toString(16).padStart(4, '0'))
}

function refuseNul(text: string): string {
  // PostgreSQL ends a text at NUL: what follows would silently be lost.
  if (text.includes('\0')) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a name or value contains NUL'])
  return text
}
