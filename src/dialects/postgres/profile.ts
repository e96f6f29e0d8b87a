import type { SqlProfile } from '../../sql/profile.ts'
import { quoteIdentifier } from './quote.ts'

/** PostgreSQL's rules; `standard_conforming_strings` on. */
export const postgresProfile: SqlProfile = Object.freeze({
  nameQuotes: { '"': '"' },
  stringQuotes: "'",
  backslashes: 'after-e',
  prefixedStrings: true,
  nestedComments: true,
  hashComments: false,
  lineEnds: '\n\r',
  dollarStrings: true,
  longOperators: true,
  maxNameBytes: 63,
  quoteName: quoteIdentifier,
  ddl: {
    ownSchema: 'public',
    foldsNames: true,
    indexesInSchema: true,
    qualifiesRenamed: false,
    namedTypes: true,
    namesConstraints: true,
  },
})
