import { DdlRefusal } from '../../contracts/migrator.ts'
import { fold } from '../characters.ts'
import { tokenize } from '../lexer.ts'
import type { SqlProfile } from '../profile.ts'
import { identifierName, isExecutableComment, type Token } from '../token.ts'

/** A piece of a statement that means something: white space and comments are left out. */
export interface Lexeme {
  readonly start: number
  readonly end: number
  readonly text: string
  /** An unquoted word in lower case, or an operator or punctuation; empty for anything else. */
  readonly word: string
  /** What a quoted or unquoted name stands for. */
  readonly name: string | undefined
  readonly quoted: boolean
  readonly string: boolean
  /** How many parentheses are open. */
  readonly depth: number
  /** The word before the innermost open parenthesis, such as the function called. */
  readonly opener: string
}

/**
 * Cuts a piece of SQL into lexemes.
 * @throws DdlRefusal for what is not closed, for comments that a database runs, and for NUL
 */
export function lexemesOf(sql: string, profile: SqlProfile): Lexeme[] {
  const lexemes: Lexeme[] = []
  const openers: string[] = []
  for (const token of tokenize(sql, profile)) {
    refuseUnreadable(token, profile)
    const { kind, text, start } = token
    if (kind === 'whitespace' || kind === 'line-comment' || kind === 'block-comment') continue
    const word = kind === 'word' ? fold(text) : kind === 'operator' ? text : ''
    if (word === ')') openers.pop()
    lexemes.push({
      start,
      end: start + text.length,
      text,
      word,
      name: identifierName(token, profile),
      quoted: kind === 'quoted-identifier',
      string: kind === 'string' || kind === 'dollar-string',
      depth: openers.length,
      opener: openers.at(-1) ?? '',
    })
    if (word === '(') openers.push(lexemes.at(-2)?.name?.toLowerCase() ?? '')
  }
  return lexemes
}

/** The statements of a piece; a semicolon stands between two of them and belongs to none. */
export function splitStatements(lexemes: readonly Lexeme[]): readonly (readonly Lexeme[])[] {
  const statements: Lexeme[][] = [[]]
  for (const lexeme of lexemes) {
    if (lexeme.word === ';') statements.push([])
    else statements.at(-1)?.push(lexeme)
  }
  return statements.filter((statement) => statement.length > 0)
}

/** True when `words` come one after the other from `at` on. */
export function reads(lexemes: readonly Lexeme[], at: number, ...words: readonly string[]): boolean {
  return words.every((word, offset) => lexemes[at + offset]?.word === word)
}

function refuseUnreadable({ kind, text }: Token, profile: SqlProfile): void {
  if (kind === 'unterminated') {
    throw new DdlRefusal(`a string, quoted name or comment that is not closed: ${text.slice(0, 40)}`)
  }
  if (kind === 'unicode-identifier') {
    throw new DdlRefusal(`the escaped identifier ${text}: write it as a plain quoted name`)
  }
  if (kind === 'block-comment' && isExecutableComment(text, 0, profile)) {
    throw new DdlRefusal('a comment that the database runs (/*! … */)')
  }
  if (text.includes('\0')) throw new DdlRefusal('a NUL character')
}
