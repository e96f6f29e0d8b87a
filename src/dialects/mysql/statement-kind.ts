import { DdlRefusal } from '../../contracts/migrator.ts'
import { type Lexeme, lexemesOf } from '../../sql/ddl/lexemes.ts'
import { mysqlProfile } from './profile.ts'

/** What a statement means for the connection it runs on. */
export type StatementKind =
  /** Reads or writes rows. `taints`: it leaves something in the session, such as a user variable or a lock. */
  | { readonly kind: 'plain'; readonly taints: boolean }
  /** CALL: what it does to session and transaction is only known afterwards. */
  | { readonly kind: 'procedure' }
  /** SET TRANSACTION: holds for the next transaction. */
  | { readonly kind: 'isolation' }
  | { readonly kind: 'begin' }
  | { readonly kind: 'commit' }
  | { readonly kind: 'rollback' }
  | { readonly kind: 'savepoint' }
  | { readonly kind: 'rollback-to' }
  | { readonly kind: 'refused'; readonly what: string }

/** All that tenants may send. Anything else changes the session, ends transactions silently, or looks at what is everybody's. */
const ROWS = new Set('select insert update delete replace with values table explain describe desc'.split(' '))
const LEADING_WORD = /^[\s(]*([a-z]+)/i

/** Transaction control in exactly the forms that mean what we think; no CHAIN, no RELEASE, no comments. */
const CONTROL: readonly (readonly [kind: Exclude<StatementKind['kind'], 'plain' | 'refused'>, form: RegExp])[] = [
  ['begin', /^\s*begin(\s+work)?\s*;?\s*$/i],
  ['begin', /^\s*start\s+transaction(\s+(with\s+consistent\s+snapshot|read\s+(only|write))\s*,?)*\s*;?\s*$/i],
  ['commit', /^\s*commit(\s+work)?\s*;?\s*$/i],
  ['rollback', /^\s*rollback(\s+work)?\s*;?\s*$/i],
  ['rollback-to', /^\s*rollback(\s+work)?\s+to(\s+savepoint)?\s+\w+\s*;?\s*$/i],
  ['savepoint', /^\s*(release\s+)?savepoint\s+\w+\s*;?\s*$/i],
  ['isolation', /^\s*set\s+transaction\s+[a-z\s,]+;?\s*$/i],
]

/** Only a statement with one of these is read to its end. */
const SUSPECT = /@|\/\*|get_lock|last_insert_id|found_rows|row_count|(information|performance)_schema|connection/i
/** Functions that tell what the statement before did: on a shared connection that was anybody's. */
const LEFT_BEHIND = new Set(['last_insert_id', 'found_rows', 'row_count'])
const CATALOGUES = new Set(['information_schema', 'performance_schema'])

const PLAIN: StatementKind = Object.freeze({ kind: 'plain', taints: false })
const TAINTING: StatementKind = Object.freeze({ kind: 'plain', taints: true })
const PROCEDURE: StatementKind = Object.freeze({ kind: 'procedure' })

/** Classifies a statement by its first word; only what is suspect is read further. */
export function statementKind(text: string): StatementKind {
  const word = LEADING_WORD.exec(text)?.[1]?.toLowerCase()
  if (word !== undefined && !SUSPECT.test(text)) return kindOf(text, word)
  return inspected(text)
}

function kindOf(text: string, word: string): StatementKind {
  if (ROWS.has(word)) return PLAIN
  if (word === 'call') return PROCEDURE
  const control = CONTROL.find(([, form]) => form.test(text))
  if (control !== undefined) return { kind: control[0] } as StatementKind
  return refused(`a statement that begins with ${word.toUpperCase()}; DDL belongs into migrations`)
}

function inspected(text: string): StatementKind {
  let lexemes: readonly Lexeme[]
  try {
    lexemes = lexemesOf(text, mysqlProfile)
  } catch (error) {
    if (error instanceof DdlRefusal) return refused(error.message.slice(0, 60))
    throw error
  }
  const first = lexemes.find(({ word }) => word !== '(')?.word ?? ''
  const kind = kindOf(text, first === '' ? 'nothing' : first)
  if (kind.kind !== 'plain' && kind.kind !== 'procedure') return kind
  let taints = false
  for (const [at, lexeme] of lexemes.entries()) {
    const name = lexeme.name?.toLowerCase() ?? ''
    const next = lexemes[at + 1]?.word
    if (lexeme.word === '@' && next === '@') return refused('a system variable')
    if (lexeme.word === '@') taints = true
    if (next === '(' && LEFT_BEHIND.has(name)) {
      return refused(`${name.toUpperCase()}(); the result of the statement has it, and \`$returningId()\``)
    }
    if (next === '(' && name === 'get_lock') taints = true
    if (next === '.' && CATALOGUES.has(name)) return refused(`${name}, which shows what all tenants have and do`)
    if (lexeme.word === 'connection' && lexemes[at - 1]?.word === 'for') return refused('EXPLAIN FOR CONNECTION')
  }
  return kind.kind === 'plain' && taints ? TAINTING : kind
}

function refused(what: string): StatementKind {
  return { kind: 'refused', what }
}
