import { tenancyError } from '../../errors.ts'
import type { SqlProfile } from '../../sql/profile.ts'

/** The rules of T-SQL with QUOTED_IDENTIFIER ON, which the driver sets on every connection. */
export const mssqlProfile: SqlProfile = Object.freeze({
  nameQuotes: { '[': ']', '"': '"' },
  stringQuotes: "'",
  backslashes: 'never',
  nestedComments: true,
  hashComments: false,
  dollarStrings: false,
  // 128 UTF-16 units, to be exact, which are never more than the bytes.
  maxNameBytes: 128,
  quoteName,
  ddl: {
    ownSchema: 'dbo',
    foldsNames: false,
    indexesInSchema: false,
    qualifiesRenamed: false,
    unseparated: true,
    altersByType: true,
    renamesByProcedure: true,
  },
})

function quoteName(name: string): string {
  if (name.includes('\0')) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a name contains NUL'])
  return `[${name.replaceAll(']', ']]')}]`
}
