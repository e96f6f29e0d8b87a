import { DdlRefusal } from '../../contracts/migrator.ts'
import { identifierName, type Token, tokenize } from './lexer.ts'

/** A token that means something, with what the checks ask about it. */
export interface Lexeme {
  readonly token: Token
  /** Place among all tokens of the text, white space and comments included. */
  readonly index: number
  /** An unquoted word in lower case, or the text of an operator; empty for anything else. */
  readonly word: string
  /** What an identifier stands for. */
  readonly name: string | undefined
  /** How many parentheses are open. */
  readonly depth: number
  /** The word before the innermost open parenthesis, such as the name of the function called. */
  readonly opener: string
}

/** The tokens of `text` and those of them that are neither white space nor comment. @throws DdlRefusal */
export function lexemesOf(text: string): { readonly tokens: readonly Token[]; readonly lexemes: readonly Lexeme[] } {
  const tokens = tokenize(text)
  const lexemes: Lexeme[] = []
  const openers: string[] = []
  for (const [index, token] of tokens.entries()) {
    if (token.kind === 'whitespace' || token.kind === 'line-comment' || token.kind === 'block-comment') continue
    refuseUnreadable(token)
    const name = identifierName(token)
    const word = token.kind === 'word' ? (name ?? '') : token.kind === 'operator' ? token.text : ''
    if (word === ')') openers.pop()
    lexemes.push({ token, index, word, name, depth: openers.length, opener: openers.at(-1) ?? '' })
    if (word === '(') openers.push(lexemes.at(-2)?.name ?? '')
  }
  return { tokens, lexemes }
}

/** Cuts at the lexemes that `separates` says; they are left out. */
export function split(
  lexemes: readonly Lexeme[],
  separates: (lexeme: Lexeme) => boolean,
): readonly (readonly Lexeme[])[] {
  const parts: Lexeme[][] = [[]]
  for (const lexeme of lexemes) {
    if (separates(lexeme)) parts.push([])
    else parts.at(-1)?.push(lexeme)
  }
  return parts.filter((part) => part.length > 0)
}

/** True when `words` come one after the other from `at` on. */
export function reads(lexemes: readonly Lexeme[], at: number, ...words: readonly string[]): boolean {
  return words.every((word, offset) => lexemes[at + offset]?.word === word)
}

function refuseUnreadable(token: Token): void {
  if (token.kind === 'unterminated') {
    throw new DdlRefusal(`a string, quoted name or comment that is not closed: ${token.text.slice(0, 40)}`)
  }
  if (token.kind === 'unicode-identifier') {
    throw new DdlRefusal(`the escaped identifier ${token.text}: write it as a plain quoted name`)
  }
  if (token.text === '$') throw new DdlRefusal('a $ that begins neither a parameter nor a string')
  if (token.text.includes('\0')) throw new DdlRefusal('a NUL character')
}
