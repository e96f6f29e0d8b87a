import { readExpression, readList, readParentheses, readRest } from './expressions.ts'
import { readQuery } from './queries.ts'
import type { Reader } from './reader.ts'
import { readCreateTable } from './tables.ts'
import { readAlterTable } from './alter-table.ts'
import { readType } from './types.ts'

/** What may stand between CREATE and INDEX. */
const INDEX_KINDS = new Set(['unique', 'fulltext', 'spatial', 'clustered', 'nonclustered'])

/** CREATE, behind the word. */
export function readCreate(reader: Reader): void {
  reader.take('or', 'replace')
  if (reader.take('unlogged', 'table') || reader.take('table')) return readCreateTable(reader)
  while (INDEX_KINDS.has(reader.word()) && (INDEX_KINDS.has(reader.word(1)) || reader.word(1) === 'index'))
    reader.next()
  if (reader.take('index')) return readCreateIndex(reader)
  readViewOptions(reader)
  const materialized = reader.take('materialized')
  if (reader.take('recursive', 'view') || reader.take('view')) return readCreateView(reader)
  if (materialized || reader.profile.ddl.namedTypes !== true) reader.refuse()
  if (reader.take('sequence')) return readSequence(reader)
  if (reader.take('type')) return readCreateType(reader)
  if (reader.take('domain')) return readCreateDomain(reader)
  if (reader.take('policy')) return readPolicy(reader)
  reader.refuse()
}

/** ALTER, behind the word. */
export function readAlter(reader: Reader): void {
  if (reader.take('table')) return readAlterTable(reader)
  const { namedTypes = false } = reader.profile.ddl
  if (reader.take('index')) return readAltered(reader)
  readViewOptions(reader)
  reader.take('materialized')
  if (reader.take('view')) return readAlterView(reader)
  if (!namedTypes) reader.refuse()
  if (reader.take('sequence')) return readSequence(reader)
  if (reader.take('type')) return readAlterType(reader)
  if (reader.take('domain')) return readAltered(reader)
  if (reader.take('policy')) return readPolicy(reader)
  reader.refuse()
}

/** DROP, behind the word. */
export function readDrop(reader: Reader): void {
  const { indexesInSchema, namedTypes = false } = reader.profile.ddl
  if (namedTypes && reader.take('policy')) return readPolicy(reader)
  const index = reader.is('index')
  const kinds = namedTypes ? ['table', 'view', 'index', 'sequence', 'type', 'domain'] : ['table', 'view', 'index']
  reader.take('materialized')
  if (!kinds.includes(reader.word())) reader.refuse()
  reader.next()
  reader.skipFillers()
  do reader.object(index && !indexesInSchema ? 'name' : 'object')
  while (reader.take(','))
  if (index && reader.take('on')) reader.object()
  if (!reader.take('cascade')) reader.take('restrict')
}

/** COMMENT, behind the word. */
export function readComment(reader: Reader): void {
  reader.expect('on')
  const kind = reader.next().word
  if (kind === 'column') reader.columnOfTable()
  else if (kind === 'constraint') {
    reader.object('name')
    reader.expect('on')
    reader.object()
  } else {
    if (kind === 'materialized') reader.expect('view')
    else if (!['table', 'view', 'index', 'sequence', 'type', 'domain'].includes(kind)) reader.refuse()
    reader.object()
  }
  reader.expect('is')
  reader.next()
}

/** RENAME TABLE a TO b, c TO d, behind RENAME. */
export function readRenameTables(reader: Reader): void {
  reader.expect('table')
  do {
    reader.object()
    reader.expect('to')
    reader.object()
  } while (reader.take(','))
}

/** What MySQL writes between CREATE or ALTER and VIEW. */
function readViewOptions(reader: Reader): void {
  if (reader.take('algorithm', '=')) reader.plainName()
  if (reader.take('sql', 'security')) reader.plainName()
}

function readCreateIndex(reader: Reader): void {
  reader.skipFillers()
  if (!reader.is('on')) reader.object('name')
  if (reader.take('using')) reader.plainName()
  reader.expect('on')
  reader.skipFillers()
  reader.table()
  readRest(reader)
}

function readCreateView(reader: Reader): void {
  reader.skipFillers()
  reader.object()
  if (reader.is('(')) readParentheses(reader)
  if (reader.take('using')) reader.plainName()
  readViewAttributes(reader)
  reader.expect('as')
  readViewQuery(reader)
}

/** `WITH (security_barrier = true)`, or `WITH SCHEMABINDING, ENCRYPTION`. */
function readViewAttributes(reader: Reader): void {
  if (!reader.take('with')) return
  if (reader.is('(')) return readParentheses(reader)
  do reader.plainName()
  while (reader.take(','))
}

/** `(select …) WITH NO DATA`, `select … WITH LOCAL CHECK OPTION`. */
function readViewQuery(reader: Reader): void {
  if (!reader.is('(') && !reader.is('select') && !reader.is('with')) reader.refuse()
  readQuery(reader)
  if (reader.peek() !== undefined) reader.refuse()
}

function readAlterView(reader: Reader): void {
  reader.skipFillers()
  reader.object()
  if (reader.profile.ddl.unseparated === true) readViewAttributes(reader)
  if (reader.take('as')) return readViewQuery(reader)
  readChange(reader)
}

/** An index, domain or the like, that is renamed or gets parameters. */
function readAltered(reader: Reader): void {
  reader.skipFillers()
  reader.object()
  readChange(reader)
}

function readChange(reader: Reader): void {
  if (reader.take('rename', 'to')) return void reader.object('name')
  if (reader.take('rename', 'constraint')) {
    reader.object('name')
    reader.expect('to')
    return void reader.object('name')
  }
  if (reader.take('rename', 'column') || reader.take('rename')) {
    reader.plainName()
    reader.expect('to')
    return void reader.plainName()
  }
  if (reader.take('drop', 'constraint')) {
    reader.skipFillers()
    return void reader.object('name')
  }
  if (reader.take('set', 'access', 'method')) return void reader.plainName()
  if (reader.is('set', '(') || reader.is('reset', '(')) reader.next()
  else if (!['add', 'alter', 'set', 'drop'].includes(reader.word()) || reader.is('set', 'schema')) reader.refuse()
  readExpression(reader)
}

function readSequence(reader: Reader): void {
  reader.skipFillers()
  reader.object()
  if (reader.take('rename', 'to')) return void reader.object('name')
  while (reader.peek() !== undefined) {
    if (reader.take('owned', 'by')) {
      if (!reader.take('none')) reader.columnOfTable()
    } else if (reader.is('set') || reader.is('owner')) reader.refuse()
    else reader.next()
  }
}

function readCreateType(reader: Reader): void {
  reader.object()
  reader.expect('as')
  if (reader.take('enum')) return readParentheses(reader)
  reader.expect('(')
  do {
    reader.plainName()
    readType(reader)
    readExpression(reader)
  } while (reader.take(','))
  reader.expect(')')
}

function readAlterType(reader: Reader): void {
  reader.object()
  if (reader.take('rename', 'to')) return void reader.object('name')
  if (!reader.take('rename', 'value')) reader.expect('add', 'value')
  readExpression(reader)
}

function readCreateDomain(reader: Reader): void {
  reader.object()
  reader.take('as')
  readType(reader)
  readExpression(reader)
}

/** Policies belong to their table; their names are not touched. Roles are not the tenant's own. */
function readPolicy(reader: Reader): void {
  reader.skipFillers()
  reader.plainName()
  reader.expect('on')
  reader.table()
  if (reader.take('rename', 'to')) return void reader.plainName()
  readList(reader)
}
