import type { SqlProfile } from '../../sql/profile.ts'

/** SQLite's rules. */
export const sqliteProfile: SqlProfile = Object.freeze({
  // Inside brackets nothing is doubled, but what is behind such a `]]` is no valid SQL.
  nameQuotes: { '"': '"', '`': '`', '[': ']' },
  stringQuotes: "'",
  backslashes: 'never',
  nestedComments: false,
  hashComments: false,
  dollarStrings: false,
  maxNameBytes: Number.POSITIVE_INFINITY,
  quoteName: (name: string) => `"${name.replaceAll('"', '""')}"`,
  ddl: { foldsNames: false, indexesInSchema: true, qualifiesRenamed: false },
})
