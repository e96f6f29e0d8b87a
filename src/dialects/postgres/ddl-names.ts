import { DdlRefusal } from '../../contracts/migrator.ts'
import type { SharedNames } from '../../sql/ddl/shared-names.ts'
import { type Lexeme, reads } from './ddl-lexemes.ts'

/*
 * Which qualifier is a schema? `a.b` is a table of schema a or a column of table a, and only a full parser with the
 * catalogue could tell everywhere. Two rules stand in for it; a name that fails either is refused:
 *
 * 1. Where only an object can stand (after TABLE, REFERENCES, FROM, `::` …) the qualifier is a schema.
 * 2. Elsewhere the qualifier must be a name that also stands alone in the same statement or function (a table, an alias,
 *    a record variable): a table that is read is named somewhere, so a name never seen alone can only be a schema.
 *
 * Not caught: a schema that has the name of a table or alias of the same statement, used where rule 1 does not look (as
 * in `from a, a.b`). The wall behind this is the rights of the role that runs the migration.
 */

/** Schemas that every tenant may name. */
const SHARED_SCHEMAS = new Set(['pg_catalog', 'information_schema'])
const PUBLIC = 'public'
/** Words after which a name is an object's, never a column's. */
const OBJECT_WORDS = new Set(
  'table view sequence index type domain function procedure routine aggregate statistics call lock truncate join references update returns setof collate ::'.split(
    ' ',
  ),
)
/** Words between such a word and its name. */
const FILLER_WORDS = new Set(['if', 'not', 'exists', 'only', 'lateral', 'concurrently'])
/** Functions whose arguments are written with FROM. */
const FROM_FUNCTIONS = new Set(['extract', 'substring', 'trim', 'overlay', 'position'])
/** Statements in which the first-level ON names a table. */
const ON_OBJECTS = new Set(['index', 'trigger', 'policy', 'constraint', 'statistics'])
const DDL_VERBS = new Set(['create', 'alter', 'drop', 'comment'])
/** Rows that PostgreSQL itself names. */
const ROW_NAMES = ['new', 'old', 'excluded']
/** Reserved words: standing alone they name nothing. */
const RESERVED = new Set(
  'all and any array as asc both case cast check collate column constraint create default desc distinct do else end except false fetch for foreign from grant group having in initially into lateral leading limit not null offset on only or order placing primary references returning select some symmetric table then to trailing true union unique user using variadic when where window with'.split(
    ' ',
  ),
)
/** Functions that look an object up by a name in a string. */
const LOOKUPS = new Set(['nextval', 'currval', 'setval', 'pg_get_serial_sequence'])

/** Names that stand alone in `lexemes`, those freed of a schema included. */
export function knownNames(lexemes: readonly Lexeme[]): Set<string> {
  const names = new Set(ROW_NAMES)
  for (const [at, { name, word }] of lexemes.entries()) {
    if (name === undefined || RESERVED.has(word) || lexemes[at + 1]?.word === '.') continue
    const qualifier = lexemes[at - 1]?.word === '.' ? lexemes[at - 2] : undefined
    const alone = lexemes[at - 1]?.word !== '.'
    const ofSchema = qualifier?.name === PUBLIC || SHARED_SCHEMAS.has(qualifier?.name ?? '')
    if (alone || (ofSchema && lexemes[at - 3]?.word !== '.')) names.add(name)
  }
  return names
}

/**
 * Drops the qualifier `public` from the texts of the tokens, and writes that of a table that all tenants share.
 * @throws DdlRefusal for a qualifier that is another schema, or may be one
 */
export function unqualify(
  lexemes: readonly Lexeme[],
  known: ReadonlySet<string>,
  texts: string[],
  shared?: SharedNames,
): void {
  for (const [at, lexeme] of lexemes.entries()) {
    refuseNamedInString(lexemes, at)
    if (shared !== undefined && qualifyShared(lexemes, at, texts, shared)) continue
    if (lexeme.name === undefined || lexemes[at + 1]?.word !== '.' || lexemes[at - 1]?.word === '.') continue
    const next = lexemes[at + 2]
    if (lexeme.name !== PUBLIC) refuseForeign(lexemes, at, known)
    else if (next?.name !== undefined || lexeme.opener === 'operator') dropQualifier(lexemes, at, texts)
  }
}

function dropQualifier(lexemes: readonly Lexeme[], at: number, texts: string[]): void {
  const index = lexemes[at]?.index ?? 0
  const before = texts[index - 1] ?? ''
  // The two neighbours must not grow together: `U&public."x"` would become an escaped identifier.
  texts[index] = before === '' || /[\s(,:]$/.test(before) ? '' : ' '
  texts[lexemes[at + 1]?.index ?? 0] = ''
}

/**
 * True when the name of a table that all share was written here, behind REFERENCES.
 * @throws DdlRefusal where such a name stands for an object anywhere else
 */
function qualifyShared(lexemes: readonly Lexeme[], at: number, texts: string[], shared: SharedNames): boolean {
  const qualifier = lexemes[at + 1]?.word === '.' ? lexemes[at] : undefined
  const target = lexemes[qualifier === undefined ? at : at + 2]
  const end = at + (qualifier === undefined ? 1 : 3)
  if (lexemes[at - 1]?.word === '.' || lexemes[end]?.word === '.') return false
  if (target?.name === undefined || !shared.knows(target.name) || !isObject(lexemes, at, end)) return false
  if (qualifier !== undefined && ![PUBLIC, shared.schema].includes(qualifier.name ?? '')) return false
  if (lexemes[at - 1]?.word !== 'references') shared.refuse(target.name)
  for (let part = at; part < end; part++) texts[lexemes[part]?.index ?? 0] = ''
  texts[target.index] = shared.reference(target.name)
  return true
}

function refuseForeign(lexemes: readonly Lexeme[], at: number, known: ReadonlySet<string>): void {
  const name = lexemes[at]?.name ?? ''
  if (SHARED_SCHEMAS.has(name)) return
  let parts = 1
  while (lexemes[at + parts * 2 - 1]?.word === '.') parts++
  const rest = lexemes.slice(at, at + parts * 2 - 1)
  const text = rest.map(({ token }) => token.text).join('')
  const throughDatabase = parts > 2 && rest[2]?.name === PUBLIC
  if (!throughDatabase && !isObject(lexemes, at, at + rest.length)) {
    if (parts === 2 && (isColumn(lexemes, at, at + rest.length) || known.has(name))) return
    if (known.has(name) && rest.every((part) => part.word === '.' || part.name !== undefined)) return
  }
  throw new DdlRefusal(
    `${text} names the schema ${lexemes[at]?.token.text}: a migration of a tenant names its own objects without a schema`,
  )
}

/** Rule 1. `end` is the offset after the qualified name. */
function isObject(lexemes: readonly Lexeme[], at: number, end: number): boolean {
  if (reads(lexemes, end, '%', 'rowtype')) return true
  let before = at - 1
  while (FILLER_WORDS.has(lexemes[before]?.word ?? '')) before--
  const lexeme = lexemes[before]
  const previous = lexemes[before - 1]?.word ?? ''
  if (lexeme === undefined || previous === '.') return false
  if (OBJECT_WORDS.has(lexeme.word)) return true
  if (lexeme.word === 'from') return previous !== 'distinct' && !FROM_FUNCTIONS.has(lexeme.opener)
  if (lexeme.word === 'into') return previous === 'insert' || previous === 'merge'
  if (lexeme.word === 'of') return previous === 'partition'
  if (lexeme.word === 'like') return previous === '(' || previous === ','
  if (lexeme.word === 'as') return lexeme.opener === 'cast'
  if (lexeme.word === '(') return previous === 'inherits'
  return lexeme.word === 'on' && lexeme.depth === 0 && startsWithOnObject(lexemes)
}

function startsWithOnObject(lexemes: readonly Lexeme[]): boolean {
  if (!DDL_VERBS.has(lexemes[0]?.word ?? '')) return false
  return lexemes.slice(0, 5).some(({ word }) => ON_OBJECTS.has(word))
}

/** Where a two-part name is a table and its column although the table stands nowhere alone. */
function isColumn(lexemes: readonly Lexeme[], at: number, end: number): boolean {
  if (reads(lexemes, end, '%', 'type')) return true
  return reads(lexemes, at - 2, 'owned', 'by') || reads(lexemes, at - 3, 'comment', 'on', 'column')
}

/** `nextval('public.s')` and `'public.t'::regclass` name a schema inside a string, which is never rewritten. */
function refuseNamedInString(lexemes: readonly Lexeme[], at: number): void {
  const token = lexemes[at]?.token
  if (token === undefined || (token.kind !== 'string' && token.kind !== 'dollar-string')) return
  if (!/[.\\]/.test(token.text) || !isLookedUp(lexemes, at)) return
  if (/^'(?:pg_catalog|information_schema)\.[^.\\]*$/.test(token.text)) return
  throw new DdlRefusal(`${token.text} names a schema inside a string: write the name without it`)
}

function isLookedUp(lexemes: readonly Lexeme[], at: number): boolean {
  const qualified = lexemes[at + 2]?.name === 'pg_catalog'
  const type = lexemes[at + (qualified ? 4 : 2)]?.name ?? ''
  const cast = lexemes[at + 1]?.word
  if ((cast === '::' || cast === 'as') && isRegType(type)) return true
  const before = lexemes[at - 1]
  if (isRegType(before?.name ?? '')) return true
  const called = before?.word === '(' ? (lexemes[at - 2]?.name ?? '') : ''
  return LOOKUPS.has(called) || called.startsWith('to_reg')
}

function isRegType(name: string): boolean {
  return /^reg(?:class|type|proc|procedure|oper|operator|namespace|collation|config|dictionary)$/.test(name)
}
