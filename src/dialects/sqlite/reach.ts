import type { Lexeme } from '../../sql/ddl/lexemes.ts'

/**
 * Functions that libsql brings and that read or write files of the machine, run SQL that is in a string, or change the
 * connection for all its tenants. test/conformance/sqlite-reach.test.ts knows all others.
 */
const FUNCTIONS =
  /^(?:readfile|writefile|edit|load_extension|eval|sha3_query|fts3_tokenizer|rtreecheck|sqlar_\w+|sqlite3mc_\w+|sqlite_crypt)$/
/** Tables that are folders or files. */
const TABLES = new Set(['fsdir', 'zipfile', 'csv'])
/** Functions that tell what the last statement of the connection did, whosever it was. */
const LEFT_BEHIND = new Set(['last_insert_rowid', 'changes', 'total_changes', 'last_rows_affected'])

/** Why a text means something else to SQLite than to us: what of it must be the same for both sides. */
export function misread(text: string, lexemes: readonly Lexeme[]): string | undefined {
  // SQLite ends a text at NUL, and a comment at the next line feed only.
  if (text.includes('\0')) return 'NUL'
  if (text.includes('--') && /\r(?!\n)/.test(text)) return 'a comment and a lone carriage return'
  // White space to SQLite where a word begins.
  return lexemes.some(({ word }) => word.includes('\ufeff')) ? 'a byte order mark' : undefined
}

/** What a statement reaches out of its file with, if it does. */
export function outReach(lexemes: readonly Lexeme[]): string | undefined {
  for (const [at, lexeme] of lexemes.entries()) {
    const name = contentOf(lexeme)?.toLowerCase()
    if (name === undefined) continue
    if (TABLES.has(name)) return name
    if (isCall(lexemes, at) && FUNCTIONS.test(name)) return `${name}()`
  }
  return undefined
}

/** The function of a statement that would tell of somebody else's, if there is one. */
export function leftBehind(lexemes: readonly Lexeme[]): string | undefined {
  const found = lexemes.find(({ name = '' }, at) => isCall(lexemes, at) && LEFT_BEHIND.has(name.toLowerCase()))
  return found && `${found.name ?? ''}(); the result of the statement has it`
}

/** What a name or a string says: in FROM, SQLite takes a string for a name. */
export function contentOf({ name, string, text }: Lexeme): string | undefined {
  return string ? text.slice(1, -1) : name
}

function isCall(lexemes: readonly Lexeme[], at: number): boolean {
  return lexemes[at + 1]?.word === '('
}
