import { DdlRefusal } from '../../contracts/migrator.ts'
import { type Lexeme, lexemesOf } from '../../sql/ddl/lexemes.ts'
import { mssqlProfile } from './profile.ts'

/** What a statement means for the connection it runs on. */
export type StatementKind =
  /** Reads or writes rows, and leaves nothing in the session. */
  | { readonly kind: 'plain' }
  | { readonly kind: 'savepoint' }
  | { readonly kind: 'rollback-to' }
  | { readonly kind: 'refused'; readonly what: string }

/** All that tenants may send. A batch that begins with another word may be a call of a procedure by that name. */
const ROWS = new Set(['select', 'insert', 'update', 'delete', 'merge', 'with'])
const LEADING_WORD = /^[\s;(]*([a-z]+)/i

/** The forms in which Drizzle nests transactions. */
const CONTROL: readonly (readonly [kind: 'savepoint' | 'rollback-to', form: RegExp])[] = [
  ['savepoint', /^\s*save\s+tran(saction)?\s+\w{1,32}\s*;?\s*$/i],
  ['rollback-to', /^\s*rollback\s+tran(saction)?\s+\w{1,32}\s*;?\s*$/i],
]

/**
 * Reserved words, so never names unless quoted: with each of them a statement begins, right behind another one, that
 * changes the session or the transaction, runs what cannot be seen, or leaves the database.
 */
const FORBIDDEN = new Set(
  `alter backup begin break bulk checkpoint close commit continue create dbcc deallocate declare deny drop dump exec execute
  goto grant if kill load open opendatasource openquery openrowset print proc procedure raiserror readtext reconfigure
  restore return revert revoke rollback save setuser shutdown tran transaction trigger truncate updatetext waitfor while
  writetext`.split(/\s+/),
)
/** Not reserved, but the same. */
const AS_BAD = new Set(['throw', 'receive', 'send'])
/** Schemas that show what all tenants have and do. */
const CATALOGUES = new Set(['sys', 'information_schema'])

/**
 * Only a statement with one of these somewhere, as a word or not, is read to its end. So is one with a character beyond
 * ASCII outside of what is read: SQL Server takes some of them for white space or for a number.
 */
const SUSPECT = new RegExp(
  `#|@@|[^\\x20-\\x7e\\t\\r\\n]|\\r(?!\\n)|\\bset\\b(?!\\s*[["])|\\buse\\b|sys|information_schema|[\\d$.](?:set|use)|${[...FORBIDDEN, ...AS_BAD].join('|')}`,
  'i',
)
/** What a word may consist of. */
const WORD = /^[\p{L}\p{M}\p{Nd}_$]+$/u
const CONTROL_CHARACTER = /^[^\x20-\x7e]$/

const PLAIN: StatementKind = Object.freeze({ kind: 'plain' })

/** Classifies a statement. Text that is not suspect is not read. */
export function statementKind(text: string): StatementKind {
  const word = LEADING_WORD.exec(text)?.[1]?.toLowerCase()
  if (word !== undefined && ROWS.has(word) && !SUSPECT.test(text)) return PLAIN
  const control = CONTROL.find(([, form]) => form.test(text))
  if (control !== undefined) return { kind: control[0] }
  return inspected(text)
}

function inspected(text: string): StatementKind {
  let lexemes: readonly Lexeme[]
  try {
    lexemes = lexemesOf(text, mssqlProfile)
  } catch (error) {
    if (error instanceof DdlRefusal) return refused(error.message.slice(0, 60))
    throw error
  }
  // Whether a lone one ends a comment, and so whether what follows is run, is not told anywhere.
  if (/\r(?!\n)/.test(text) && text.includes('--')) return refused('a carriage return without a line feed')
  const first = lexemes.find(({ word }) => word !== '(' && word !== ';')
  if (!ROWS.has(first?.word ?? '')) {
    return refused(`a statement that begins with ${(first?.text ?? 'nothing').slice(0, 40).toUpperCase()}`)
  }
  for (const at of lexemes.keys()) {
    const what = faultAt(lexemes, at)
    if (what !== undefined) return refused(what)
  }
  return PLAIN
}

/** Why a statement with this lexeme is refused. */
function faultAt(lexemes: readonly Lexeme[], at: number): string | undefined {
  const lexeme = lexemes[at] as Lexeme
  const { word, name } = lexeme
  const [before, next] = [lexemes[at - 1], lexemes[at + 1]]
  if (name?.startsWith('#') === true || word === '#') return 'a temporary table'
  if (name === undefined) return CONTROL_CHARACTER.test(word) ? 'a control character' : undefined
  if (next?.word === '.' && CATALOGUES.has(name.toLowerCase()))
    return `${name}, which shows what all tenants have and do`
  if (word === '') return undefined
  if (!WORD.test(word)) return `the word ${word.slice(0, 40)}: quote it`
  const joined = before !== undefined && before.end === lexeme.start
  if (joined && /^[\d$.]/.test(before.text) && before.text !== '.')
    return `${before.text}${lexeme.text}: put a space between`
  if (joined && before.word === '@') {
    const system = lexemes[at - 2]
    const isSystem = system?.word === '@' && system.end === before.start
    return isSystem && word === 'identity'
      ? '@@IDENTITY, which may be another tenant’s; use OUTPUT or SCOPE_IDENTITY()'
      : undefined
  }
  if (word === 'set') return isAssignment(lexemes, at) ? undefined : 'SET'
  if (word === 'use') return lexeme.opener === 'option' ? undefined : 'USE'
  const bad = FORBIDDEN.has(word) || (AS_BAD.has(word) && next?.word !== '.' && before?.word !== '.')
  return bad ? `${word.toUpperCase()}; DDL and procedures belong into migrations` : undefined
}

/** `UPDATE … SET x = 1`, `SET t.x += 1`, `SET @x = 1`. No option of a session is set with an equals sign. */
function isAssignment(lexemes: readonly Lexeme[], at: number): boolean {
  const [target, sign, equals] = [lexemes[at + 1], lexemes[at + 2]?.word ?? '', lexemes[at + 3]?.word]
  if (target?.quoted === true || target?.word === '@') return true
  return sign === '=' || sign === '.' || (/^[-+*/%&|^]$/.test(sign) && equals === '=')
}

function refused(what: string): StatementKind {
  return { kind: 'refused', what }
}
