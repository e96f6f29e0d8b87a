import { parseUrl } from '../../../util/secret.ts'

/**
 * A URL whose connections begin with this path. What the server is told at the start wins over what is set for the role, which
 * every role may change for itself, and is what RESET and DISCARD lead back to. Other options of the user are kept.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS
 */
export function withStartupPath(url: string, path: readonly string[]): string {
  // The last of several wins, on both sides: of parameters in a URL, and of options.
  const given = parseUrl(url)?.searchParams.getAll('options').at(-1) ?? process.env['PGOPTIONS'] ?? ''
  const options = `${given} -c search_path=${path.join(',')}`.trim()
  return `${url}${url.includes('?') ? '&' : '?'}options=${encodeURIComponent(options)}`
}
