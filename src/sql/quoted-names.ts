import { blockCommentEnd, isLineComment, lineEnd, NOT_FOUND, quotedEnd } from './characters.ts'
import type { SqlProfile } from './profile.ts'

/** A quoted name in SQL text. */
export interface QuotedName {
  readonly name: string
  readonly start: number
  readonly end: number
}

const DOLLAR_DELIMITER = /\$(?:[A-Za-z_\x80-\uffff][A-Za-z0-9_\x80-\uffff]*)?\$/y

/**
 * The quoted names of a statement, in order; never one inside a string or a comment. Linear time. What is not closed ends
 * the search: the database will refuse it.
 */
export function quotedNames(sql: string, profile: SqlProfile): QuotedName[] {
  const names: QuotedName[] = []
  for (let at = 0; at < sql.length && at !== NOT_FOUND; ) {
    const character = sql.charAt(at)
    const close = profile.nameQuotes[character]
    if (close === undefined) {
      at = skip(sql, at, character, profile)
      continue
    }
    const end = quotedEnd(sql, at + 1, close, false)
    if (end === NOT_FOUND) break
    names.push({ name: sql.slice(at + 1, end - 1).replaceAll(close + close, close), start: at, end })
    at = end
  }
  return names
}

/** The offset after the string, comment or character at `at`; -1 when it is not closed. */
function skip(sql: string, at: number, character: string, profile: SqlProfile): number {
  if (profile.stringQuotes.includes(character)) {
    const escapes = profile.backslashes === 'always' || (profile.backslashes === 'after-e' && followsE(sql, at))
    return quotedEnd(sql, at + 1, character, escapes)
  }
  if (isLineComment(sql, at, profile)) return lineEnd(sql, at, profile)
  if (character === '/' && sql.charAt(at + 1) === '*') return blockCommentEnd(sql, at, profile)
  if (character === '$' && profile.dollarStrings) return dollarEnd(sql, at)
  return at + 1
}

/** `E'…'`, where the E is no end of a longer word. */
function followsE(sql: string, at: number): boolean {
  return /[eE]/.test(sql.charAt(at - 1)) && !/[\w$\x80-\uffff]/.test(sql.charAt(at - 2))
}

function dollarEnd(sql: string, at: number): number {
  // `a$b$` is one word to PostgreSQL.
  if (/[\w$\x80-\uffff]/.test(sql.charAt(at - 1))) return at + 1
  DOLLAR_DELIMITER.lastIndex = at
  const delimiter = DOLLAR_DELIMITER.exec(sql)?.[0]
  if (delimiter === undefined) return at + 1
  const close = sql.indexOf(delimiter, at + delimiter.length)
  return close === NOT_FOUND ? NOT_FOUND : close + delimiter.length
}
