import { readRest } from './expressions.ts'
import type { Lexeme } from './lexemes.ts'
import { readAlter, readComment, readCreate, readDrop, readRenameTables } from './objects.ts'
import { readQuery, readWrite } from './queries.ts'
import { readRenameCall } from './rename-call.ts'
import { type Dialect, type Edit, Reader } from './reader.ts'

/** Settings of SQLite that name nothing. */
const PRAGMAS = new Set(['foreign_keys', 'defer_foreign_keys'])

const ROUTINES = new Set(['function', 'procedure', 'trigger', 'event', 'aggregate', 'rule'])
const MODIFIERS = new Set(['or', 'replace', 'constraint', 'temp', 'temporary'])

/** Finds what must be written for each tenant in one statement. @throws DdlRefusal */
export function readStatement(lexemes: readonly Lexeme[], dialect: Dialect): readonly Edit[] {
  const reader = new Reader(lexemes, dialect, readQuery)
  const verb = reader.word()
  switch (verb) {
    case 'insert':
    case 'replace':
    case 'update':
    case 'delete':
      readWrite(reader)
      break
    case 'select':
    case 'with':
      readQuery(reader)
      break
    default:
      readDefinition(reader, verb)
  }
  if (reader.peek() !== undefined) reader.refuse()
  reader.finish()
  return reader.edits
}

function readDefinition(reader: Reader, verb: string): void {
  const { namedTypes = false } = reader.profile.ddl
  if (verb === '') reader.refuse()
  reader.next()
  refuseRoutine(reader, verb)
  if (reader.profile.ddl.renamesByProcedure === true && (verb === 'exec' || verb === 'execute')) readRenameCall(reader)
  else if (verb === 'create') readCreate(reader)
  else if (verb === 'alter') readAlter(reader)
  else if (verb === 'drop') readDrop(reader)
  else if (verb === 'rename') readRenameTables(reader)
  else if (verb === 'truncate') readTruncate(reader)
  else if (verb === 'comment' && namedTypes) readComment(reader)
  else if (verb === 'refresh' && namedTypes) readRefresh(reader)
  else if (verb === 'pragma' && PRAGMAS.has(reader.word())) readPragma(reader)
  else reader.refuse(`a statement that begins with ${reader.peek(-1)?.text.slice(0, 40) ?? ''}`)
}

/** A routine finds its tables by their names when it runs. */
function refuseRoutine(reader: Reader, verb: string): void {
  let at = 0
  while (MODIFIERS.has(reader.word(at))) at++
  const kind = reader.word(at)
  if (verb !== 'create' || !ROUTINES.has(kind)) return
  reader.refuse(
    `CREATE ${kind.toUpperCase()}: the names in its body cannot be written for each tenant; give the tenant a schema or database of its own, or do this in the application`,
  )
}

function readTruncate(reader: Reader): void {
  reader.take('table')
  reader.skipFillers()
  do reader.object()
  while (reader.take(','))
  if (!reader.take('restart', 'identity')) reader.take('continue', 'identity')
  if (!reader.take('cascade')) reader.take('restrict')
}

function readRefresh(reader: Reader): void {
  reader.expect('materialized', 'view')
  reader.skipFillers()
  reader.object()
  readRest(reader)
}

function readPragma(reader: Reader): void {
  reader.next()
  reader.expect('=')
  reader.next()
}
