/**
 * Whether the name of a database in a grant on a whole database means this one. It is a pattern: `_` stands for one
 * character, `%` for any, behind a backslash for themselves.
 * @param pattern as SHOW GRANTS tells it, without its quotes
 */
export function grantCovers(pattern: string, database: string): boolean {
  const source = pattern
    .replaceAll('``', '`')
    .replace(/\\?[^]/g, (one) =>
      one === '%' ? '.*' : one === '_' ? '.' : `\\u{${one.at(-1)?.codePointAt(0)?.toString(16)}}`,
    )
  return new RegExp(`^${source}$`, 'isu').test(database)
}
