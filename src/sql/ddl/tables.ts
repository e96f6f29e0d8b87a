import { readExpression, readParentheses, readPart } from './expressions.ts'
import { readQuery } from './queries.ts'
import type { Reader } from './reader.ts'
import { readType } from './types.ts'
import { impliedConstraint } from './written-names.ts'

const CONSTRAINTS = new Set('constraint primary unique foreign check exclude'.split(' '))
/** What begins an index inside a table, where indexes belong to tables. */
const TABLE_INDEXES = new Set('index key fulltext spatial'.split(' '))
/** Options of a table that name nothing; what is missing here may. */
const OPTIONS = new Set(
  'auto_increment default character charset collate comment row_format strict without rowid set'.split(' '),
)

/** CREATE TABLE, behind TABLE. */
export function readCreateTable(reader: Reader): void {
  reader.skipFillers()
  const table = reader.table()
  if (reader.is('as')) return readTableQuery(reader)
  reader.expect('(')
  do readElement(reader, table)
  while (reader.take(','))
  reader.expect(')')
  while (reader.peek() !== undefined && !reader.is('as')) readOption(reader)
  if (reader.is('as')) readTableQuery(reader)
}

function readTableQuery(reader: Reader): void {
  reader.expect('as')
  readQuery(reader)
  if (reader.peek() !== undefined) reader.refuse()
}

/** One option of a table, with its value. */
export function readOption(reader: Reader): void {
  reader.take(',')
  if (reader.is('with', '(')) {
    reader.next()
    return readParentheses(reader)
  }
  if (reader.take('engine')) {
    reader.take('=')
    return reader.expect('innodb')
  }
  if (!OPTIONS.has(reader.word())) reader.refuse()
  reader.next()
  if (!reader.take('=')) return
  const value = reader.next()
  if (value.name === undefined && !value.string && !/^\d/.test(value.text)) reader.refuse()
}

/** A column, constraint or index inside the parentheses of CREATE TABLE, or behind ADD. */
export function readElement(reader: Reader, table: string): void {
  const word = reader.word()
  if (word === 'like') reader.refuse('CREATE TABLE … LIKE')
  if (!reader.profile.ddl.indexesInSchema && TABLE_INDEXES.has(word)) readTableIndex(reader)
  else if (CONSTRAINTS.has(word)) readConstraint(reader, table)
  else readColumn(reader, table)
}

/** `KEY x (…)`, `FULLTEXT INDEX x (…)`, `UNIQUE INDEX x (…)`. */
function readTableIndex(reader: Reader): void {
  reader.next()
  if (reader.is('index') || reader.is('key')) reader.next()
  if (!reader.is('(') && !reader.is('using')) reader.object('name')
  readExpression(reader)
}

function readConstraint(reader: Reader, table: string): void {
  if (reader.is('constraint')) {
    reader.next()
    if (!CONSTRAINTS.has(reader.word())) {
      reader.object('name')
      if (reader.is('unique')) readTableUnique(reader)
      return readExpression(reader)
    }
  }
  if (reader.is('unique') || reader.is('primary')) imply(reader, table, columnsAhead(reader))
  if (reader.is('unique')) readTableUnique(reader)
  readExpression(reader)
}

function readTableUnique(reader: Reader): void {
  if (reader.profile.ddl.indexesInSchema) return
  reader.expect('unique')
  if (reader.is('index') || reader.is('key')) reader.next()
  if (!reader.is('(') && !reader.is('using')) reader.object('name')
}

/** The columns between the next parentheses. */
function columnsAhead(reader: Reader): readonly string[] {
  const columns: string[] = []
  let at = 0
  while (reader.peek(at) !== undefined && reader.word(at) !== '(') at++
  for (at++; reader.peek(at) !== undefined && reader.word(at) !== ')'; at++) {
    const { name } = reader.peek(at) ?? {}
    if (name !== undefined) columns.push(name)
  }
  return columns
}

/** A column: name, type and what follows it. */
export function readColumn(reader: Reader, table: string): void {
  const { name } = reader.plainName()
  if (reader.is('.')) reader.refuse()
  readType(reader)
  while (reader.peek() !== undefined && !reader.is(',') && !reader.is(')')) {
    const named = reader.word(-2) === 'constraint'
    if (!named && (reader.is('unique') || reader.is('primary', 'key'))) imply(reader, table, [name])
    readPart(reader)
  }
}

/** Names a constraint that has no name, as later migrations take it for granted. */
function imply(reader: Reader, table: string, columns: readonly string[]): void {
  const { profile } = reader
  if (profile.ddl.namesConstraints !== true || reader.is('unique', 'using') || reader.is('primary', 'key', 'using'))
    return
  const name = reader.is('primary') ? `${table}_pkey` : `${table}_${columns.join('_')}_key`
  reader.insert((naming) => impliedConstraint(name, naming, profile))
}
