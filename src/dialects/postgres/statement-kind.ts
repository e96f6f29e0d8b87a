import { leadingKeyword, tokenize } from './lexer.ts'

/** What a statement means for the scope it runs in. */
export type StatementKind =
  | { readonly kind: 'plain' }
  /** CALL and DO can commit half-way and go on without the scope, unless they run in an explicit transaction. */
  | { readonly kind: 'procedure' }
  | { readonly kind: 'begin'; readonly options: string }
  | { readonly kind: 'commit' }
  | { readonly kind: 'rollback' }
  /** Transaction control that would leave the scope, such as COMMIT AND CHAIN; COPY, which needs a protocol of its own. */
  | { readonly kind: 'refused'; readonly what: string }

const PLAIN: StatementKind = Object.freeze({ kind: 'plain' })
/** Sent as an ordinary query, COPY FROM STDIN waits for data while the server swallows our Sync: both sides wait for ever. */
const COPY: StatementKind = Object.freeze({ kind: 'refused', what: 'COPY; use INSERT, or the admin connection' })
/** It outlives its transaction, and behind a pooler its connection: the next tenant could FETCH from it. */
const HOLD: StatementKind = Object.freeze({ kind: 'refused', what: 'a cursor WITH HOLD' })
const PROCEDURE: StatementKind = Object.freeze({ kind: 'procedure' })

/** Classifies a statement by its first word; only transaction control is read further. */
export function statementKind(text: string): StatementKind {
  switch (leadingKeyword(text)) {
    case 'call':
    case 'do':
      return PROCEDURE
    case 'copy':
      return COPY
    case 'declare':
      return tokenize(text).some(({ text: word }) => word.toLowerCase() === 'hold') ? HOLD : PLAIN
    case 'begin':
    case 'start':
    case 'commit':
    case 'end':
    case 'rollback':
    case 'abort':
      return transactionControl(text)
    default:
      return PLAIN
  }
}

function transactionControl(text: string): StatementKind {
  const words = significantWords(text)
  if (words === undefined) return refused(text)
  const [verb = '', ...rest] = words
  const options = rest[0] === 'transaction' || rest[0] === 'work' ? rest.slice(1) : rest
  if (verb === 'begin' || (verb === 'start' && rest[0] === 'transaction'))
    return { kind: 'begin', options: options.join(' ') }
  if (options.length === 0 && (verb === 'commit' || verb === 'end')) return { kind: 'commit' }
  if (options.length === 0 && (verb === 'rollback' || verb === 'abort')) return { kind: 'rollback' }
  if (verb === 'rollback' && options[0] === 'to') return PLAIN
  return refused(words.join(' '))
}

/** The words of a single statement in lower case; `undefined` when it holds anything but words and commas. */
function significantWords(text: string): string[] | undefined {
  const words: string[] = []
  for (const token of tokenize(text)) {
    if (token.kind === 'whitespace' || token.kind === 'line-comment' || token.kind === 'block-comment') continue
    if (token.text === ';') continue
    if (token.text === ',' && words.length > 0) words[words.length - 1] += ','
    else if (token.kind === 'word') words.push(token.text.toLowerCase())
    else if (token.kind === 'quoted-identifier' && words.includes('to')) words.push(token.text)
    else return undefined
  }
  return words
}

function refused(what: string): StatementKind {
  return {
    kind: 'refused',
    what: `transaction control other than plain BEGIN, COMMIT, ROLLBACK (${JSON.stringify(what.slice(0, 60))})`,
  }
}
