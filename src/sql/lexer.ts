import {
  blockCommentEnd,
  fold,
  isDigit,
  isLineComment,
  isSpace,
  isWordStart,
  lineEnd,
  matchEnd,
  NOT_FOUND,
  quotedEnd,
  spaceEnd,
  wordEnd,
} from './characters.ts'
import type { SqlProfile } from './profile.ts'
import { type StringRules, stringEnd } from './string-end.ts'
import { isExecutableComment, type Token, type TokenKind } from './token.ts'

const NUMBER =
  /0[xX](?:_?[\da-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|(?:\d(?:_?\d)*(?:\.(?!\.)(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d(?:_?\d)*)?/y
const DOLLAR_DELIMITER = /\$(?:[A-Za-z_\x80-\uffff][A-Za-z0-9_\x80-\uffff]*)?\$/y
const PARAMETER = /\$\d+/y
const OPERATOR_CHARACTERS = new Set('~!@#^&|`?+-*/%<>=')
/** An operator may end in `+` or `-` only if it holds one of these. */
const SPECIAL_OPERATOR_CHARACTERS = new Set('~!@#^&|`?%')
/** PostgreSQL refuses longer ones; without an end to the look ahead, a run of signs would take quadratic time. */
const MAX_OPERATOR_LENGTH = 64

/**
 * Cuts SQL text into tokens as the scanner of the database does. Linear time; never throws. The texts of the tokens, put
 * together, are the input.
 *
 * A string continued after a line break (`E'a'⏎'b'`) is one token, as its second part follows the rules of the first.
 */
export function tokenize(sql: string, profile: SqlProfile): Token[] {
  const tokens: Token[] = []
  for (let at = 0; at < sql.length; ) {
    const token = tokenAt(sql, at, profile)
    tokens.push(token)
    at += token.text.length
  }
  return tokens
}

/**
 * The first word of a statement in lower case, after white space, comments and semicolons: to a database a semicolon, a
 * comment and `call p()` are one statement. Empty when something else than a word comes first, such as a comment that
 * MySQL runs. May run on every statement.
 */
export function leadingKeyword(sql: string, profile: SqlProfile): string {
  let at = 0
  for (;;) {
    const code = sql.charCodeAt(at)
    if (isWordStart(code)) return fold(sql.slice(at, wordEnd(sql, at)))
    if (isSpace(code) || code === 59 /* ; */) at++
    else if (isLineComment(sql, at, profile)) at = lineEnd(sql, at, profile)
    else if (sql.startsWith('/*', at) && !isExecutableComment(sql, at, profile)) at = blockCommentEnd(sql, at, profile)
    else return ''
    if (at === NOT_FOUND) return ''
  }
}

function tokenAt(sql: string, at: number, profile: SqlProfile): Token {
  const code = sql.charCodeAt(at)
  if (isSpace(code)) return make(sql, 'whitespace', at, spaceEnd(sql, at))
  if (isWordStart(code)) return wordAt(sql, at, profile)
  if (isLineComment(sql, at, profile)) return make(sql, 'line-comment', at, lineEnd(sql, at, profile))
  if (sql.startsWith('/*', at)) return make(sql, 'block-comment', at, blockCommentEnd(sql, at, profile))
  const character = sql.charAt(at)
  const close = profile.nameQuotes[character]
  if (close !== undefined) return make(sql, 'quoted-identifier', at, quotedEnd(sql, at + 1, close, false))
  if (profile.stringQuotes.includes(character)) {
    return stringAt(sql, at, at, profile.backslashes === 'always' ? 'escapes' : 'standard', profile)
  }
  if (character === '$' && profile.dollarStrings) return dollarAt(sql, at)
  if (isDigit(code) || (character === '.' && isDigit(sql.charCodeAt(at + 1)))) {
    return make(sql, 'number', at, matchEnd(NUMBER, sql, at))
  }
  return make(sql, 'operator', at, profile.longOperators === true ? operatorEnd(sql, at, profile) : at + 1)
}

function make(sql: string, kind: TokenKind, start: number, end: number): Token {
  if (end === NOT_FOUND) return { kind: 'unterminated', text: sql.slice(start), start }
  return { kind, text: sql.slice(start, end), start }
}

/** `open` is the offset of the first quote, after a prefix if there is one. */
function stringAt(sql: string, start: number, open: number, rules: StringRules, profile: SqlProfile): Token {
  return make(sql, 'string', start, stringEnd(sql, open, rules, profile))
}

/** A word, or a string or identifier with a prefix: E'' B'' X'' N'' U&'' U&"". */
function wordAt(sql: string, at: number, profile: SqlProfile): Token {
  if (profile.prefixedStrings === true) {
    const prefix = sql.charAt(at).toLowerCase()
    const next = sql.charAt(at + 1)
    if (next === "'") {
      if (prefix === 'e') return stringAt(sql, at, at + 1, 'escapes', profile)
      if (prefix === 'b' || prefix === 'x') return stringAt(sql, at, at + 1, 'bits', profile)
      if (prefix === 'n') return stringAt(sql, at, at + 1, 'standard', profile)
    } else if (prefix === 'u' && next === '&') {
      const quote = sql.charAt(at + 2)
      if (quote === "'") return stringAt(sql, at, at + 2, 'standard', profile)
      if (quote === '"') return make(sql, 'unicode-identifier', at, quotedEnd(sql, at + 3, '"', false))
    }
  }
  return make(sql, 'word', at, wordEnd(sql, at))
}

function dollarAt(sql: string, at: number): Token {
  const opened = matchEnd(DOLLAR_DELIMITER, sql, at)
  if (opened !== NOT_FOUND) {
    const delimiter = sql.slice(at, opened)
    const close = sql.indexOf(delimiter, opened)
    const token = make(sql, 'dollar-string', at, close === NOT_FOUND ? NOT_FOUND : close + delimiter.length)
    return token.kind === 'unterminated' ? token : { ...token, delimiter }
  }
  const parameter = matchEnd(PARAMETER, sql, at)
  return parameter === NOT_FOUND ? make(sql, 'operator', at, at + 1) : make(sql, 'parameter', at, parameter)
}

/** An operator ends where a comment begins, and gives trailing signs back unless it holds a special character. */
function operatorEnd(sql: string, start: number, profile: SqlProfile): number {
  if (!OPERATOR_CHARACTERS.has(sql.charAt(start))) {
    const two = sql.slice(start, start + 2)
    return start + (two === '::' || two === ':=' || two === '..' ? 2 : 1)
  }
  let special = false
  let end = start
  let trimmed = start + 1
  for (; end - start < MAX_OPERATOR_LENGTH && OPERATOR_CHARACTERS.has(sql.charAt(end)); end++) {
    if (end > start && (isLineComment(sql, end, profile) || sql.startsWith('/*', end))) break
    const character = sql.charAt(end)
    special ||= SPECIAL_OPERATOR_CHARACTERS.has(character)
    if (character !== '+' && character !== '-') trimmed = end + 1
  }
  return special ? end : trimmed
}
