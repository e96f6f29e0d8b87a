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

const NUMBER =
  /0[xX](?:_?[\da-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|(?:\d(?:_?\d)*(?:\.(?!\.)(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d(?:_?\d)*)?/y
const DOLLAR_DELIMITER = /\$(?:[A-Za-z_\x80-\uffff][A-Za-z0-9_\x80-\uffff]*)?\$/y
const ABOVE_ASCII = /[\x80-\uffff]/
const PARAMETER = /\$\d+/y
const OPERATOR_CHARACTERS = new Set('~!@#^&|`?+-*/%<>=')
/** An operator may end in `+` or `-` only if it holds one of these. */
const SPECIAL_OPERATOR_CHARACTERS = new Set('~!@#^&|`?%')
/** PostgreSQL refuses longer ones; without an end to the look ahead, a run of signs would take quadratic time. */
const MAX_OPERATOR_LENGTH = 64
const NOT_FOUND = -1

/**
 * Cuts SQL text into tokens by the rules of PostgreSQL's own scanner (`standard_conforming_strings` on). Linear time;
 * never throws. The texts of the tokens, put together, are the input.
 *
 * A string continued after a line break (`E'a'⏎'b'`) is one token, as its second part follows the rules of the first.
 */
export function tokenize(sql: string): Token[] {
  const tokens: Token[] = []
  for (let at = 0; at < sql.length; ) {
    const token = tokenAt(sql, at)
    tokens.push(token)
    at += token.text.length
  }
  return tokens
}

/**
 * The first word of a statement in lower case, after white space, comments and semicolons: to PostgreSQL a semicolon, a
 * comment and `call p()` are one statement. Empty when something else than a word comes first. Runs on every statement.
 */
export function leadingKeyword(sql: string): string {
  let at = 0
  for (;;) {
    const code = sql.charCodeAt(at)
    if (isWordStart(code)) return fold(sql.slice(at, wordEnd(sql, at)))
    if (isSpace(code) || code === 59 /* ; */) at++
    else if (sql.startsWith('--', at)) at = lineEnd(sql, at)
    else if (sql.startsWith('/*', at)) at = blockCommentEnd(sql, at)
    else return ''
    if (at === NOT_FOUND) return ''
  }
}

/** The name that an identifier stands for: unquoted ones in lower case. `undefined` for any other token. */
export function identifierName(token: Token): string | undefined {
  if (token.kind === 'word') return fold(token.text)
  if (token.kind === 'quoted-identifier') return token.text.slice(1, -1).replaceAll('""', '"')
  return undefined
}

function tokenAt(sql: string, at: number): Token {
  const code = sql.charCodeAt(at)
  if (isSpace(code)) return make(sql, 'whitespace', at, spaceEnd(sql, at))
  if (isWordStart(code)) return wordAt(sql, at)
  const two = sql.slice(at, at + 2)
  if (two === '--') return make(sql, 'line-comment', at, lineEnd(sql, at))
  if (two === '/*') return make(sql, 'block-comment', at, blockCommentEnd(sql, at))
  if (two.startsWith("'")) return make(sql, 'string', at, stringEnd(sql, at, 'standard'))
  if (two.startsWith('"')) return make(sql, 'quoted-identifier', at, quotedIdentifierEnd(sql, at))
  if (two.startsWith('$')) return dollarAt(sql, at)
  if (isDigit(code) || (two.startsWith('.') && isDigit(sql.charCodeAt(at + 1)))) {
    return make(sql, 'number', at, matchEnd(NUMBER, sql, at))
  }
  if (OPERATOR_CHARACTERS.has(two.charAt(0))) return make(sql, 'operator', at, operatorEnd(sql, at))
  return make(sql, 'operator', at, at + (two === '::' || two === ':=' || two === '..' ? 2 : 1))
}

function make(sql: string, kind: TokenKind, start: number, end: number): Token {
  if (end === NOT_FOUND) return { kind: 'unterminated', text: sql.slice(start), start }
  return { kind, text: sql.slice(start, end), start }
}

/** A word, or a string or identifier with a prefix: E'' B'' X'' N'' U&'' U&"". */
function wordAt(sql: string, at: number): Token {
  const prefix = sql.charAt(at).toLowerCase()
  const next = sql.charAt(at + 1)
  if (next === "'") {
    if (prefix === 'e') return make(sql, 'string', at, stringEnd(sql, at + 1, 'escapes'))
    if (prefix === 'b' || prefix === 'x') return make(sql, 'string', at, stringEnd(sql, at + 1, 'bits'))
    if (prefix === 'n') return make(sql, 'string', at, stringEnd(sql, at + 1, 'standard'))
  } else if (prefix === 'u' && next === '&') {
    const quote = sql.charAt(at + 2)
    if (quote === "'") return make(sql, 'string', at, stringEnd(sql, at + 2, 'standard'))
    if (quote === '"') return make(sql, 'unicode-identifier', at, quotedIdentifierEnd(sql, at + 2))
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

/** `open` is the offset of the first quote. Bit strings have no doubled quotes; a quote after one begins a string. */
function stringEnd(sql: string, open: number, rules: 'standard' | 'escapes' | 'bits'): number {
  let at = open + 1
  for (;;) {
    const quote = rules === 'escapes' ? unescapedQuote(sql, at) : sql.indexOf("'", at)
    if (quote === NOT_FOUND) return NOT_FOUND
    at = quote + 1
    if (rules !== 'bits' && sql.charAt(at) === "'") {
      at++
      continue
    }
    const continued = continuation(sql, at)
    if (continued === NOT_FOUND) return at
    at = continued
  }
}

function unescapedQuote(sql: string, from: number): number {
  for (let at = from; at < sql.length; at++) {
    if (sql.charAt(at) === "'") return at
    if (sql.charAt(at) === '\\') at++
  }
  return NOT_FOUND
}

/** The offset after the quote that continues a string closed at `from`; a line break must lie between the quotes. */
function continuation(sql: string, from: number): number {
  let lineBreak = false
  for (let at = from; ; ) {
    const code = sql.charCodeAt(at)
    if (isSpace(code)) {
      lineBreak ||= code === 10 || code === 13
      at++
    } else if (sql.startsWith('--', at)) at = lineEnd(sql, at)
    else return lineBreak && code === 39 /* ' */ ? at + 1 : NOT_FOUND
  }
}

function quotedIdentifierEnd(sql: string, open: number): number {
  for (let at = open + 1; ; at += 2) {
    at = sql.indexOf('"', at)
    if (at === NOT_FOUND) return NOT_FOUND
    if (sql.charAt(at + 1) !== '"') return at + 1
  }
}

/** Block comments nest. */
function blockCommentEnd(sql: string, open: number): number {
  let depth = 1
  for (let at = open + 2; at < sql.length; at++) {
    if (sql.startsWith('/*', at)) depth++
    else if (sql.startsWith('*/', at)) depth--
    else continue
    at++
    if (depth === 0) return at + 1
  }
  return NOT_FOUND
}

/** An operator ends where a comment begins, and gives trailing signs back unless it holds a special character. */
function operatorEnd(sql: string, start: number): number {
  let special = false
  let end = start
  let trimmed = start + 1
  for (; end - start < MAX_OPERATOR_LENGTH && OPERATOR_CHARACTERS.has(sql.charAt(end)); end++) {
    if (end > start && (sql.startsWith('--', end) || sql.startsWith('/*', end))) break
    const character = sql.charAt(end)
    special ||= SPECIAL_OPERATOR_CHARACTERS.has(character)
    if (character !== '+' && character !== '-') trimmed = end + 1
  }
  return special ? end : trimmed
}

function spaceEnd(sql: string, from: number): number {
  let at = from
  while (isSpace(sql.charCodeAt(at))) at++
  return at
}

/** `--` comments end before \n or \r. */
function lineEnd(sql: string, from: number): number {
  let at = from
  for (; at < sql.length; at++) {
    const code = sql.charCodeAt(at)
    if (code === 10 || code === 13) break
  }
  return at
}

function wordEnd(sql: string, from: number): number {
  let at = from + 1
  for (; at < sql.length; at++) {
    const code = sql.charCodeAt(at)
    if (!isWordStart(code) && !isDigit(code) && code !== 36 /* $ */) break
  }
  return at
}

/** Every character above ASCII is a letter to PostgreSQL, a no-break space too. */
function isWordStart(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || code === 95 || code >= 128
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57
}

/** Space, \t, \n, \r, \f; \v counts since PostgreSQL 16 and is a syntax error before. */
function isSpace(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13)
}

/** Only ASCII folds: `toLowerCase` alone would make a `k` of the Kelvin sign. */
function fold(word: string): string {
  if (!ABOVE_ASCII.test(word)) return word.toLowerCase()
  return word.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
}

function matchEnd(pattern: RegExp, sql: string, at: number): number {
  pattern.lastIndex = at
  return pattern.test(sql) ? pattern.lastIndex : NOT_FOUND
}
