import { identifierName, leadingKeyword, type Token, tokenize } from './lexer.ts'

/** What a statement means for the scope it runs in. */
export type StatementKind =
  /** `changes` says what of the session it leaves changed. */
  | { readonly kind: 'plain'; readonly changes?: string; readonly locks?: true }
  /**
   * CALL and DO can commit half-way and go on without the scope, unless they run in an explicit transaction. A block may
   * change the session unseen; a procedure too, but that one is of the application's migrations.
   */
  | { readonly kind: 'procedure'; readonly changes?: string }
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
/** What SET changes for the transaction only. */
const TRANSACTION_SETTINGS = new Set(['local', 'transaction', 'constraints'])
const TEMPORARY = new Set(['temp', 'temporary'])
/** What stands before TEMP where it is no name: CREATE [LOCAL], CREATE OR REPLACE, SELECT INTO. */
const BEFORE_TEMPORARY = new Set(['create', 'into', 'local', 'global', 'replace'])
/** Behind these INTO is followed by the name of a table, which may be `temp`. */
const WRITES_INTO = new Set(['insert', 'merge'])
const TEMPORARY_SCHEMA = /^pg_temp(?:_\d+)?$/i
const TEMPORARY_OBJECT: StatementKind = Object.freeze({ kind: 'plain', changes: 'a temporary object' })
/** Row policies do not stop it. */
const LOCK: StatementKind = Object.freeze({ kind: 'plain', locks: true })
const PROCEDURE: StatementKind = Object.freeze({ kind: 'procedure' })
const BLOCK: StatementKind = Object.freeze({ kind: 'procedure', changes: 'a DO block' })

/** Classifies a statement by its first word; only transaction control and what may be temporary is read further. */
export function statementKind(text: string): StatementKind {
  switch (leadingKeyword(text)) {
    case 'call':
      return PROCEDURE
    case 'do':
      return BLOCK
    case 'copy':
      return COPY
    case 'lock':
      return LOCK
    case 'declare':
      return tokenize(text).some(({ text: word }) => word.toLowerCase() === 'hold') ? HOLD : PLAIN
    case 'begin':
    case 'start':
    case 'commit':
    case 'end':
    case 'rollback':
    case 'abort':
      return transactionControl(text)
    case 'set':
      return TRANSACTION_SETTINGS.has(wordAfter(text, ['set']))
        ? PLAIN
        : changing('SET; SET LOCAL ends with its transaction')
    case 'reset':
    case 'discard':
    case 'listen':
    case 'unlisten':
    case 'prepare':
    case 'deallocate':
    case 'load':
      return changing(leadingKeyword(text).toUpperCase())
    default:
      return mayBeTemporary.test(text) && makesTemporary(text) ? TEMPORARY_OBJECT : PLAIN
  }
}

/** Of every statement, so it must be quick. */
const mayBeTemporary = /temp/i

/** Whether a statement makes, or writes out the schema of, what only its session has: SELECT INTO TEMP, EXPLAIN CREATE TEMP too. */
function makesTemporary(text: string): boolean {
  let [earlier, before] = ['', '']
  for (const token of tokenize(text)) {
    if (isBlank(token)) continue
    if (TEMPORARY_SCHEMA.test(identifierName(token) ?? '')) return true
    const word = token.kind === 'word' ? token.text.toLowerCase() : ''
    const isName = before === 'into' && WRITES_INTO.has(earlier)
    if (TEMPORARY.has(word) && BEFORE_TEMPORARY.has(before) && !isName) return true
    ;[earlier, before] = [before, word]
  }
  return false
}

function changing(changes: string): StatementKind {
  return { kind: 'plain', changes }
}

/** What comes first in a statement that is none of `skipped`, if it is a word: a name in quotes is none, whatever it stands for. */
function wordAfter(text: string, skipped: readonly string[]): string {
  const next = tokenize(text).find(
    (token) => !isBlank(token) && !(token.kind === 'word' && skipped.includes(token.text.toLowerCase())),
  )
  return next?.kind === 'word' ? next.text.toLowerCase() : ''
}

/** Before a statement a semicolon is blank too. */
function isBlank({ kind, text }: Token): boolean {
  return kind === 'whitespace' || kind === 'line-comment' || kind === 'block-comment' || text === ';'
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
    if (isBlank(token)) continue
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
