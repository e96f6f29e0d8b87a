import { isLineComment, isSpace, lineEnd, NOT_FOUND } from './characters.ts'
import type { SqlProfile } from './profile.ts'

/** Bit strings have no doubled quotes; a quote after one begins a string. */
export type StringRules = 'standard' | 'escapes' | 'bits'

/** The offset after a string and all that continues it; `open` is the offset of its first quote. -1 if it is not closed. */
export function stringEnd(sql: string, open: number, rules: StringRules, profile: SqlProfile): number {
  const mark = sql.charAt(open)
  let at = open + 1
  for (;;) {
    const quote = rules === 'escapes' ? unescapedQuote(sql, at, mark) : sql.indexOf(mark, at)
    if (quote === NOT_FOUND) return NOT_FOUND
    at = quote + 1
    if (rules !== 'bits' && sql.charAt(at) === mark) {
      at++
      continue
    }
    const continued = profile.prefixedStrings === true ? continuation(sql, at, profile) : NOT_FOUND
    if (continued === NOT_FOUND) return at
    at = continued
  }
}

function unescapedQuote(sql: string, from: number, mark: string): number {
  for (let at = from; at < sql.length; at++) {
    const character = sql.charAt(at)
    if (character === mark) return at
    if (character === '\\') at++
  }
  return NOT_FOUND
}

/** The offset after the quote that continues a string closed at `from`; a line break must lie between the quotes. */
function continuation(sql: string, from: number, profile: SqlProfile): number {
  let lineBreak = false
  for (let at = from; ; ) {
    const code = sql.charCodeAt(at)
    if (isSpace(code)) {
      lineBreak ||= code === 10 || code === 13
      at++
    } else if (isLineComment(sql, at, profile)) at = lineEnd(sql, at, profile)
    else return lineBreak && code === 39 /* ' */ ? at + 1 : NOT_FOUND
  }
}
