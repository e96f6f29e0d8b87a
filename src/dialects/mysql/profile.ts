import { tenancyError } from '../../errors.ts'
import type { SqlProfile } from '../../sql/profile.ts'

/** The rules of MySQL and MariaDB; `sql_mode` without ANSI_QUOTES and NO_BACKSLASH_ESCAPES. */
export const mysqlProfile: SqlProfile = Object.freeze({
  nameQuotes: { '`': '`' },
  stringQuotes: `'"`,
  backslashes: 'always',
  nestedComments: false,
  hashComments: true,
  dollarStrings: false,
  // 64 characters, to be exact.
  maxNameBytes: 64,
  quoteName,
  ddl: { foldsNames: false, indexesInSchema: false, qualifiesRenamed: true },
})

function quoteName(name: string): string {
  if (name.includes('\0')) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a name contains NUL'])
  return `\`${name.replaceAll('`', '``')}\``
}
