import { fold } from './characters.ts'
import type { SqlProfile } from './profile.ts'

/** What a token is. `unterminated` is a string, identifier or comment that the text ends in the middle of. */
export type TokenKind =
  | 'word'
  | 'quoted-identifier'
  | 'unicode-identifier'
  | 'string'
  | 'dollar-string'
  | 'line-comment'
  | 'block-comment'
  | 'number'
  | 'parameter'
  | 'operator'
  | 'whitespace'
  | 'unterminated'

/** A piece of SQL text. Punctuation counts as an operator. */
export interface Token {
  readonly kind: TokenKind
  readonly text: string
  /** Offset of `text` in the SQL. */
  readonly start: number
  /** Of a dollar-quoted string: `$tag$`. The body is `text` without it at both ends. */
  readonly delimiter?: string
}

/** The name that an identifier stands for, in lower case where an unquoted one means that. `undefined` for other tokens. */
export function identifierName({ kind, text }: Token, { ddl }: SqlProfile): string | undefined {
  if (kind === 'word') return ddl.foldsNames ? fold(text) : text
  if (kind !== 'quoted-identifier') return undefined
  const close = text.slice(-1)
  return text.slice(1, -1).replaceAll(close + close, close)
}

/** What begins with `/*!`, in MariaDB also `/*M!`: a comment to everyone but the database, which runs it. */
export function isExecutableComment(sql: string, at: number, { hashComments }: SqlProfile): boolean {
  return hashComments && (sql.startsWith('/*!', at) || sql.startsWith('/*M!', at))
}
