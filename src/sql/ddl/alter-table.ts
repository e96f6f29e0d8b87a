import { readExpression, readParentheses } from './expressions.ts'
import type { Reader } from './reader.ts'
import { readColumn, readElement, readOption } from './tables.ts'
import { readType } from './types.ts'

/** ALTER TABLE, behind TABLE. */
export function readAlterTable(reader: Reader): void {
  reader.skipFillers()
  const table = reader.table()
  reader.take('*')
  do readAction(reader, table)
  while (reader.take(','))
  if (reader.peek() !== undefined) reader.refuse()
}

function readAction(reader: Reader, table: string): void {
  switch (reader.word()) {
    case 'add':
      return readAdd(reader, table)
    case 'drop':
      return readDrop(reader)
    case 'rename':
      return readRename(reader)
    case 'alter':
      return readAlter(reader, table)
    case 'modify':
      reader.next()
      reader.take('column')
      return readColumn(reader, table)
    case 'change':
      reader.next()
      reader.take('column')
      reader.plainName()
      return readColumn(reader, table)
    case 'validate':
      reader.expect('validate', 'constraint')
      return void reader.object('name')
    case 'enable':
    case 'disable':
    case 'force':
    case 'no':
      return readRowSecurity(reader)
    case 'set':
    case 'reset':
      // Storage parameters; SET SCHEMA, SET TABLESPACE and the like have no parentheses.
      reader.next()
      return readParentheses(reader)
    case 'algorithm':
    case 'lock':
      reader.next()
      reader.take('=')
      return void reader.plainName()
    case 'convert':
      reader.expect('convert', 'to')
      return readOption(reader)
    default:
      return readOption(reader)
  }
}

function readAdd(reader: Reader, table: string): void {
  reader.expect('add')
  const column = reader.take('column')
  reader.skipFillers()
  if (column) return readColumn(reader, table)
  if (!reader.take('(')) return readElement(reader, table)
  do readElement(reader, table)
  while (reader.take(','))
  reader.expect(')')
}

function readDrop(reader: Reader): void {
  reader.expect('drop')
  if (reader.take('primary', 'key')) return
  const { indexesInSchema } = reader.profile.ddl
  const constraint =
    reader.take('constraint') ||
    reader.take('foreign', 'key') ||
    (!indexesInSchema && (reader.take('index') || reader.take('key') || reader.take('check')))
  if (!constraint) reader.take('column')
  reader.skipFillers()
  if (constraint) reader.object('name')
  else reader.plainName()
  if (!reader.take('cascade')) reader.take('restrict')
}

function readRename(reader: Reader): void {
  reader.expect('rename')
  if (reader.take('to') || reader.take('as')) return readNewName(reader)
  const { indexesInSchema } = reader.profile.ddl
  if (reader.take('constraint') || (!indexesInSchema && (reader.take('index') || reader.take('key')))) {
    reader.object('name')
    reader.expect('to')
    return void reader.object('name')
  }
  if (!reader.take('column') && reader.word(1) !== 'to') return readNewName(reader)
  reader.plainName()
  reader.expect('to')
  reader.plainName()
}

function readNewName(reader: Reader): void {
  reader.object(reader.profile.ddl.qualifiesRenamed ? 'object' : 'name')
}

function readAlter(reader: Reader, table: string): void {
  reader.expect('alter')
  const { indexesInSchema } = reader.profile.ddl
  if (reader.take('constraint') || (!indexesInSchema && (reader.take('index') || reader.take('check')))) {
    reader.object('name')
    return readExpression(reader)
  }
  reader.take('column')
  reader.plainName()
  // libSQL: ALTER COLUMN x TO x text …
  if (reader.take('to')) return readColumn(reader, table)
  if (reader.profile.ddl.altersByType === true) return readColumnType(reader)
  if (reader.take('set', 'data', 'type') || reader.take('type')) readType(reader)
  else if (!['set', 'drop', 'add', 'restart', 'reset'].includes(reader.word())) reader.refuse()
  readExpression(reader)
}

/** `ALTER COLUMN x int NOT NULL`. */
function readColumnType(reader: Reader): void {
  if (reader.is('add') || reader.is('drop')) reader.next()
  reader.plainName()
  readExpression(reader)
}

function readRowSecurity(reader: Reader): void {
  if (!reader.take('no', 'force')) reader.next()
  reader.expect('row', 'level', 'security')
}
