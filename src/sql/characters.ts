import type { SqlProfile } from './profile.ts'

/* What databases call a space, a digit and a letter, and where words, comments and quotes end. */

export const NOT_FOUND = -1
const ABOVE_ASCII = /[\x80-\uffff]/

/** Every character above ASCII is a letter, a no-break space too. */
export function isWordStart(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || code === 95 || code >= 128
}

export function isDigit(code: number): boolean {
  return code >= 48 && code <= 57
}

/** Space, \t, \n, \v, \f, \r. Where \v does not count it is a syntax error. */
export function isSpace(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13)
}

export function spaceEnd(sql: string, from: number): number {
  let at = from
  while (isSpace(sql.charCodeAt(at))) at++
  return at
}

/** `$` counts inside a word. */
export function wordEnd(sql: string, from: number): number {
  let at = from + 1
  for (; at < sql.length; at++) {
    const code = sql.charCodeAt(at)
    if (!isWordStart(code) && !isDigit(code) && code !== 36 /* $ */) break
  }
  return at
}

/** Whether a comment that ends with its line begins at `at`. MySQL wants white space or a control character after `--`. */
export function isLineComment(sql: string, at: number, { hashComments }: SqlProfile): boolean {
  const code = sql.charCodeAt(at)
  if (code === 35 /* # */) return hashComments
  if (code !== 45 /* - */ || sql.charCodeAt(at + 1) !== 45) return false
  if (!hashComments || at + 2 >= sql.length) return true
  const after = sql.charCodeAt(at + 2)
  return after <= 32 || after === 127
}

/** The offset of the character that ends a comment begun by `--`, or of the end. */
export function lineEnd(sql: string, from: number, { lineEnds = '\n' }: SqlProfile): number {
  let at = from
  while (at < sql.length && !lineEnds.includes(sql.charAt(at))) at++
  return at
}

/** The offset after a block comment that begins at `open`; -1 when it is not closed. */
export function blockCommentEnd(sql: string, open: number, { nestedComments }: SqlProfile): number {
  let depth = 1
  for (let at = open + 2; at < sql.length; at++) {
    if (nestedComments && sql.startsWith('/*', at)) depth++
    else if (sql.startsWith('*/', at)) depth--
    else continue
    at++
    if (depth === 0) return at + 1
  }
  return NOT_FOUND
}

/** The offset after the quote that closes what begins before `from`; doubled it stands for itself. -1 when none does. */
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

/** Only ASCII folds: `toLowerCase` alone would make a `k` of the Kelvin sign. */
export function fold(word: string): string {
  if (!ABOVE_ASCII.test(word)) return word.toLowerCase()
  return word.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
}

/** The offset after what a sticky pattern matches at `at`; -1 when it does not. */
export function matchEnd(pattern: RegExp, sql: string, at: number): number {
  pattern.lastIndex = at
  return pattern.test(sql) ? pattern.lastIndex : NOT_FOUND
}
