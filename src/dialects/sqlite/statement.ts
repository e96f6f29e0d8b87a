import { DdlRefusal } from '../../contracts/migrator.ts'
import { type Lexeme, lexemesOf } from '../../sql/ddl/lexemes.ts'
import { readOnce } from '../../util/read-once.ts'
import { LEDGER } from './ledger.ts'
import { sqliteProfile } from './profile.ts'
import { contentOf, leftBehind, misread, outReach } from './reach.ts'
import { type Template, templateOf, untouched } from './template.ts'

/** A statement of a tenant, read once. */
export interface ReadStatement {
  /** `savepoint`: what Drizzle sends for a nested transaction; it needs an open one. */
  readonly kind: 'read' | 'write' | 'savepoint'
  /** Why no tenant may send it. */
  readonly refusal: string | undefined
  /** Why no tenant may send it that shares a file with others. */
  readonly sharedRefusal: string | undefined
  readonly template: Template
}

/** What begins a statement about rows. Everything else is DDL, transaction control, or reaches out of the file. */
const READS = new Set(['select', 'values', 'explain'])
const WRITES = new Set(['insert', 'replace', 'update', 'delete'])
const SAVEPOINT = /^(?:savepoint|release savepoint|rollback to savepoint) sp\d+$/
/** `$a(…)` is one token to SQLite, whatever is between the parentheses: it could hide a quote from us. */
const PARAMETER = /^[$@:#]/
/** Tables and functions that tell of all objects of the file, or read its pages. */
const CATALOGUE = /^(?:sqlite_|libsql_|pragma_|dbstat$|bytecode$|tables_used$|vector_top_k$|__tenancy_rowid$)/i
const NAMESPACED = /^t[0-9a-z]{25}__/i

/** A table of the connection that all tenants of a file write with. */
export const ROWID_NAME = '__tenancy_rowid'

/** Builds a function that reads statements, each once. `sharedPrefix` begins the names of tables that all tenants use. */
export function createStatementReader(sharedPrefix?: string): (text: string) => ReadStatement {
  return readOnce((text) => readStatement(text, sharedPrefix))
}

/**
 * Reads a statement: what it does, what a tenant's SQL must not do, and where tenant names stand in it. SQLite has no
 * roles, so what a serving role may not do elsewhere is refused here, before anything is sent: this guards against
 * mistakes, it is no wall against SQL that is made to get through.
 */
export function readStatement(text: string, sharedPrefix?: string): ReadStatement {
  let lexemes: Lexeme[]
  try {
    lexemes = lexemesOf(text, sqliteProfile)
  } catch (error) {
    if (!(error instanceof DdlRefusal)) throw error
    return refused(text, error.message)
  }
  const control = lexemes.map((lexeme) => lexeme.text.toLowerCase()).join(' ')
  if (SAVEPOINT.test(control)) return { ...refused(text, undefined), kind: 'savepoint' }
  const refusal = refusalOf(text, lexemes)
  if (refusal !== undefined) return refused(text, refusal)
  return Object.freeze({
    kind: kindOf(lexemes),
    refusal,
    sharedRefusal: sharedRefusalOf(lexemes, sharedPrefix),
    template: templateOf(text, lexemes),
  })
}

function refused(text: string, refusal: string | undefined): ReadStatement {
  return Object.freeze({ kind: 'write', refusal, sharedRefusal: undefined, template: untouched(text) })
}

function kindOf(lexemes: readonly Lexeme[]): 'read' | 'write' {
  const verb = lexemes[0]?.word ?? ''
  if (verb !== 'with') return READS.has(verb) ? 'read' : 'write'
  const writes = lexemes.some(({ word, depth }, at) => depth === 0 && WRITES.has(word) && lexemes[at + 1]?.word !== '(')
  return writes ? 'write' : 'read'
}

function refusalOf(text: string, lexemes: readonly Lexeme[]): string | undefined {
  const first = lexemes[explained(lexemes)]
  if (!isAboutRows(first?.word ?? '')) {
    return `it begins with ${JSON.stringify(first?.text.slice(0, 40) ?? '')}; rows are read and written here, transactions made with \`transaction()\``
  }
  const unclear = misread(text, lexemes)
  if (unclear !== undefined) return unclear
  const end = lexemes.findIndex(({ word }) => word === ';')
  if (end >= 0 && lexemes.slice(end).some(({ word }) => word !== ';')) return 'several statements in one text'
  for (const { text: piece } of lexemes) {
    if (PARAMETER.test(piece)) return `a named parameter (${piece}); use ?`
  }
  const reach = outReach(lexemes)
  if (reach !== undefined) return `${reach}, which reaches out of the file`
  return lexemes.some((lexeme) => contentOf(lexeme)?.toLowerCase() === LEDGER) ? `the table ${LEDGER}` : undefined
}

/** Where the statement begins that is to be explained, if one is: SQLite carries out some settings while it reads them. */
function explained(lexemes: readonly Lexeme[]): number {
  if (lexemes[0]?.word !== 'explain') return 0
  return lexemes[1]?.word === 'query' && lexemes[2]?.word === 'plan' ? 3 : 1
}

function isAboutRows(verb: string): boolean {
  return verb === 'with' || (verb !== 'explain' && READS.has(verb)) || WRITES.has(verb)
}

function sharedRefusalOf(lexemes: readonly Lexeme[], sharedPrefix: string | undefined): string | undefined {
  for (const lexeme of lexemes) {
    const content = contentOf(lexeme)
    if (content === undefined) continue
    if (CATALOGUE.test(content)) return `${lexeme.text.slice(0, 40)}, which tells of other tenants`
    if (sharedPrefix !== undefined && content.toLowerCase().startsWith(sharedPrefix)) {
      return 'a name of `sharedTables` in full; names are written as "__shared__"."name"'
    }
    if (NAMESPACED.test(content)) return 'a name with a prefix in it; names are written as "__tenant__"."name"'
  }
  return leftBehind(lexemes)
}
