import { postgresProfile } from '../../src/dialects/postgres/profile.ts'
import type { SqlProfile } from '../../src/sql/profile.ts'

export { postgresProfile }

/** MySQL's rules, to see that the machinery knows no database by name. */
export const mysqlLike: SqlProfile = {
  nameQuotes: { '`': '`' },
  stringQuotes: `'"`,
  backslashes: 'always',
  nestedComments: false,
  hashComments: true,
  dollarStrings: false,
  maxNameBytes: 64,
  quoteName: (name) => `\`${name.replaceAll('`', '``')}\``,
  ddl: { foldsNames: false, indexesInSchema: false, qualifiesRenamed: true },
}

/** SQLite's rules. */
export const sqliteLike: SqlProfile = {
  nameQuotes: { '"': '"', '`': '`', '[': ']' },
  stringQuotes: "'",
  backslashes: 'never',
  nestedComments: false,
  hashComments: false,
  dollarStrings: false,
  maxNameBytes: 128,
  quoteName: (name) => `"${name.replaceAll('"', '""')}"`,
  ddl: { foldsNames: false, indexesInSchema: true, qualifiesRenamed: false },
}
