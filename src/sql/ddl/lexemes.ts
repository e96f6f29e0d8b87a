import { DdlRefusal } from '../../contracts/migrator.ts'
import type { SqlProfile } from '../profile.ts'
import { quotedEnd, skip } from '../quoted-names.ts'

/** A piece of a statement that means something: white space and comments are left out. */
export interface Lexeme {
  readonly start: number
  readonly end: number
  readonly text: string
  /** An unquoted word in lower case, or one character of punctuation; empty for anything else. */
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

const WORD = /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/y
const NUMBER = /\d[\w.]*/y

/** Cuts a piece of SQL into lexemes. @throws DdlRefusal for what is not closed, and for comments that a database runs */
export function lexemesOf(sql: string, profile: SqlProfile): Lexeme[] {
  const lexemes: Lexeme[] = []
  const openers: string[] = []
  const push = (start: number, end: number, kind: Partial<Pick<Lexeme, 'word' | 'name' | 'quoted' | 'string'>>) => {
    const own = { word: '', name: undefined, quoted: false, string: false, ...kind }
    if (own.word === ')') openers.pop()
    const place = { depth: openers.length, opener: openers.at(-1) ?? '' }
    lexemes.push({ start, end, text: sql.slice(start, end), ...own, ...place })
    if (own.word === '(') openers.push(lexemes.at(-2)?.name?.toLowerCase() ?? '')
  }
  for (let at = 0; at < sql.length; ) {
    const character = sql.charAt(at)
    const close = profile.nameQuotes[character]
    if (close !== undefined) {
      const end = closed(quotedEnd(sql, at + 1, close, false), sql, at)
      push(at, end, { name: sql.slice(at + 1, end - 1).replaceAll(close + close, close), quoted: true })
      at = end
    } else if (/\s/.test(character)) at++
    else {
      const word = matchAt(WORD, sql, at)
      const plain = word ?? matchAt(NUMBER, sql, at)
      if (plain !== undefined) {
        push(at, at + plain.length, word === undefined ? {} : { word: word.toLowerCase(), name: nameOf(word, profile) })
        at += plain.length
        continue
      }
      if (sql.startsWith('/*!', at) || sql.startsWith('/*M!', at)) {
        throw new DdlRefusal('a comment that the database runs (/*! … */)')
      }
      const end = closed(skip(sql, at, character, profile), sql, at)
      const comment =
        sql.startsWith('--', at) || sql.startsWith('/*', at) || (profile.hashComments && character === '#')
      if (end === at + 1 && !comment) push(at, end, { word: character })
      else if (!comment) push(at, end, { string: true })
      at = end
    }
  }
  return lexemes
}

/** Only ASCII folds, as in PostgreSQL: `toLowerCase` alone would make a `k` of the Kelvin sign. */
function nameOf(word: string, { ddl }: SqlProfile): string {
  return ddl.foldsNames ? word.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()) : word
}

function matchAt(pattern: RegExp, sql: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(sql)?.[0]
}

function closed(end: number, sql: string, at: number): number {
  if (end < 0) throw new DdlRefusal(`a string, quoted name or comment that is not closed: ${sql.slice(at, at + 40)}`)
  return end
}

/** True when `words` come one after the other from `at` on. */
export function reads(lexemes: readonly Lexeme[], at: number, ...words: readonly string[]): boolean {
  return words.every((word, offset) => lexemes[at + offset]?.word === word)
}
