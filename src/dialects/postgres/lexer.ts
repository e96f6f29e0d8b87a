import * as lexer from '../../sql/lexer.ts'
import { identifierName as nameOf, type Token } from '../../sql/token.ts'
import { postgresProfile } from './profile.ts'

export type { Token } from '../../sql/token.ts'

/** Cuts SQL text into tokens by the rules of PostgreSQL's own scanner (`standard_conforming_strings` on). */
export function tokenize(sql: string): Token[] {
  return lexer.tokenize(sql, postgresProfile)
}

/** The first word of a statement in lower case; see {@link lexer.leadingKeyword}. Runs on every statement. */
export function leadingKeyword(sql: string): string {
  return lexer.leadingKeyword(sql, postgresProfile)
}

/** The name that an identifier stands for: unquoted ones in lower case. `undefined` for any other token. */
export function identifierName(token: Token): string | undefined {
  return nameOf(token, postgresProfile)
}
