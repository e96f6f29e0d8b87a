import type { SqlProfile } from './profile.ts'

/** A quoted name in SQL text. */
export interface QuotedName {
  readonly name: string
  readonly start: number
  readonly end: number
}

const NOT_FOUND = -1
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
export function skip(sql: string, at: number, character: string, profile: SqlProfile): number {
  if (profile.stringQuotes.includes(character)) {
    const escapes = profile.backslashes === 'always' || (profile.backslashes === 'after-e' && followsE(sql, at))
    return quotedEnd(sql, at + 1, character, escapes)
  }
  if (character === '-' && sql.charAt(at + 1) === '-') {
    return profile.hashComments && !/^\s?$/.test(sql.charAt(at + 2)) ? at + 2 : lineEnd(sql, at)
  }
  if (character === '#' && profile.hashComments) return lineEnd(sql, at)
  if (character === '/' && sql.charAt(at + 1) === '*') return commentEnd(sql, at + 2, profile.nestedComments)
  if (character === '$' && profile.dollarStrings) return dollarEnd(sql, at)
  return at + 1
}

/** The offset after the quote that closes what begins before `from`; -1 when none does. */
export function quotedEnd(sql: string, from: number, close: string, escapes: boolean): number {
  for (let at = from; at < sql.length; at++) {
    const character = sql.charAt(at)
    if (character === '\\' && escapes) at++
    else if (character === close) {
      if (sql.charAt(at + 1) !== close) return at + 1
      at++
    }
  }
  return NOT_FOUND
}

/** `E'…'`, where the E is no end of a longer word. */
function followsE(sql: string, at: number): boolean {
  return /[eE]/.test(sql.charAt(at - 1)) && !/[\w$\x80-\uffff]/.test(sql.charAt(at - 2))
}

function lineEnd(sql: string, from: number): number {
  for (let at = from; at < sql.length; at++) {
    const character = sql.charAt(at)
    if (character === '\n' || character === '\r') return at
  }
  return sql.length
}

function commentEnd(sql: string, from: number, nested: boolean): number {
  let depth = 1
  for (let at = from; at < sql.length; at++) {
    if (sql.startsWith('*/', at)) depth--
    else if (nested && sql.startsWith('/*', at)) depth++
    else continue
    at++
    if (depth === 0) return at + 1
  }
  return NOT_FOUND
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
