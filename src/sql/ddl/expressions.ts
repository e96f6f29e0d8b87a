import { DdlRefusal } from '../../contracts/migrator.ts'
import type { Reader } from './reader.ts'
import { refuseNextStatement } from './next-statement.ts'
import { nameInString } from './written-names.ts'
import { readType } from './types.ts'

/** Functions whose arguments are written with FROM, or with IN. */
const FROM_FUNCTIONS = new Set(['extract', 'substring', 'substr', 'trim', 'overlay'])
const CASTS = new Set(['cast', 'try_cast', 'convert'])
/** Functions that look an object up by a name in a string. */
const LOOKUPS = new Set(['nextval', 'currval', 'setval', 'pg_get_serial_sequence'])
/** Functions that look objects up in ways that cannot be followed, run SQL in a string, or reach out of the database. */
const REFUSED_FUNCTIONS =
  /^(?:to_reg\w+|\w+_to_xml\w*|dblink\w*|set_config|pg_read\w*|lo_\w+|load_extension|load_file|open(?:rowset|query|datasource)|readfile|writefile|edit|fts3_tokenizer|pragma_\w+|lastval|nextval|currval|setval|pg_get_serial_sequence)$/
/** Types whose text names an object. Text search configurations are nobody's. */
const LOOKUP_TYPES = /^reg(?:class|type|proc|procedure|oper|operator|namespace|role|collation)$/
/** Reserved words that begin something that is read elsewhere: here they would hide a name. */
const MISPLACED = new Set('join into table tablespace'.split(' '))
/** Words that may stand between CONSTRAINT and what it is, when it has no name. */
const NAMELESS = new Set('check primary unique foreign not null default references'.split(' '))

/** Reads what stands between commas or parentheses: everything up to the next `,` or `)` or to the end. */
export function readExpression(reader: Reader): void {
  for (;;) {
    const lexeme = reader.peek()
    if (lexeme === undefined || [',', ')', ']'].includes(lexeme.word)) return
    readPart(reader)
  }
}

/** Reads expressions with commas between them, up to the `)` or the end. */
export function readList(reader: Reader): void {
  do readExpression(reader)
  while (reader.take(','))
}

/** `( … )`: a query or a list. */
export function readParentheses(reader: Reader): void {
  reader.expect('(')
  if (!reader.takeQuery()) readList(reader)
  reader.expect(')')
}

/** Reads to the end. */
export function readRest(reader: Reader): void {
  readList(reader)
  if (reader.peek() !== undefined) reader.refuse()
}

/** Reads one lexeme, or several that belong together. Names of columns, functions and types of the database stay. */
export function readPart(reader: Reader): void {
  const lexeme = reader.peek()
  if (lexeme === undefined) reader.refuse()
  const { word, name, string, quoted } = lexeme
  if (word === '(') return readParentheses(reader)
  if (word === '[') return readBrackets(reader)
  if (word === ')' || word === ']' || word === '$') reader.refuse()
  if (string) return readString(reader)
  if (name === undefined) return readOperator(reader)
  // SELECT is reserved: wherever it stands, a query begins.
  if (word === 'select') return void reader.takeQuery()
  if (reader.word(1) === '.') return readChain(reader)
  if (quoted && reader.peek(1)?.string === true) reader.refuse(`${lexeme.text} before a string is a type: write a cast`)
  if (reader.word(1) === '(' && readLookup(reader, name)) return
  if (!quoted) readKeyword(reader, word)
  else reader.next()
}

function readOperator(reader: Reader): void {
  const operator = reader.next().word
  if (operator === '::') readCastType(reader)
  // `(row).column`: what follows such a dot is no table.
  if (operator === '.' && reader.peek()?.name !== undefined) {
    reader.next()
    if (reader.word() === '.') reader.refuse()
  }
}

function readCastType(reader: Reader): void {
  const type = reader.word()
  if (LOOKUP_TYPES.test(type)) refuseLookupType(type)
  readType(reader)
}

function readBrackets(reader: Reader): void {
  reader.expect('[')
  readList(reader)
  reader.expect(']')
}

function readString(reader: Reader): void {
  const { text, start, end } = reader.next()
  // SQLite takes a string for a name where only that can stand.
  if (reader.word() === '.') reader.refuse(`${text.slice(0, 40)} before a dot: quote a name as a name`)
  if (reader.is('::') && LOOKUP_TYPES.test(reader.word(1))) {
    if (reader.word(1) !== 'regclass') refuseLookupType(reader.word(1))
    reader.edits.push({ start, end, write: nameInString(text, reader.profile) })
    reader.expect('::', 'regclass')
  }
}

function refuseLookupType(type: string): never {
  throw new DdlRefusal(`${type}: it looks an object up by a name in a string`)
}

/** `a.b`, `a.b.c`, `a.*`: a table or alias and its column. */
function readChain(reader: Reader): void {
  const { ownSchema } = reader.profile.ddl
  if (reader.word(3) === '.') {
    if (ownSchema === undefined || reader.peek()?.name !== ownSchema) {
      reader.refuse(
        `${reader.peek()?.text}.${reader.peek(2)?.text ?? ''} names a schema or database: name the table alone`,
      )
    }
    reader.dropOwnSchema()
  }
  const table = reader.next()
  reader.qualifier(table)
  reader.expect('.')
  if (!reader.take('*')) reader.plainName()
  if (reader.word() === '.' || reader.word() === '(') reader.refuse()
}

/**
 * A call that looks an object up by a name in a string, where that is understood; false for any other call.
 * @throws DdlRefusal for a function that could reach out of the tenant's names
 */
function readLookup(reader: Reader, name: string): boolean {
  const called = name.toLowerCase()
  if (!REFUSED_FUNCTIONS.test(called)) return false
  if (reader.profile.ddl.namedTypes !== true || !LOOKUPS.has(called)) throw new DdlRefusal(`the function ${called}`)
  reader.next()
  reader.expect('(')
  const argument = reader.peek()
  if (argument?.string === true) {
    const { text, start, end } = reader.next()
    reader.edits.push({ start, end, write: nameInString(text, reader.profile) })
    reader.take('::', 'regclass')
    // A string that goes on, with || or so, is another name.
    if (!reader.is(',') && !reader.is(')')) reader.refuse()
  } else if (!LOOKUPS.has(argument?.name ?? '') || reader.word(1) !== '(') {
    throw new DdlRefusal(`${called} of something that is not a plain string`)
  }
  readList(reader)
  reader.expect(')')
  return true
}

/** An unquoted word: a column, a function, or a keyword after which a name stands. */
function readKeyword(reader: Reader, word: string): void {
  refuseNextStatement(reader)
  const { opener } = reader.next()
  switch (word) {
    case 'references':
      return reader.referenced()
    case 'constraint':
      if (!NAMELESS.has(reader.word())) reader.object('name')
      return
    case 'sequence':
      if (opener === 'identity' && reader.take('name')) reader.object('name')
      return
    case 'as':
      if (CASTS.has(opener)) readCastType(reader)
      return
    case 'in':
      // SQLite reads `x IN orders` as a table.
      if (reader.is('(') || opener === 'position' || reader.is('boolean', 'mode') || reader.is('natural')) return
      return reader.refuse('IN without parentheses')
    case 'collate':
      if (reader.take('pg_catalog', '.')) reader.plainName()
      return
    case 'from':
      if (FROM_FUNCTIONS.has(opener) || isDistinctFrom(reader)) return
      return reader.refuse('FROM outside of a SELECT')
    case 'using':
      if (reader.is('index')) reader.refuse('USING INDEX')
      return
    case 'of':
      if (['update', 'share', 'key'].includes(reader.word(-2))) reader.refuse('FOR UPDATE OF')
      return
    default:
      if (MISPLACED.has(word)) reader.refuse(`${word.toUpperCase()}: not understood here`)
      if (LOOKUP_TYPES.test(word)) refuseLookupType(word)
  }
}

/** Whether the FROM just read belongs to IS [NOT] DISTINCT FROM. */
export function isDistinctFrom(reader: Reader): boolean {
  return reader.word(-2) === 'distinct' && ['is', 'not'].includes(reader.word(-3))
}
