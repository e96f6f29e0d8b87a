import { isDistinctFrom, readParentheses, readPart } from './expressions.ts'
import { key, type Reader } from './reader.ts'

/** Words that end a list of tables. */
const FROM_ENDERS = new Set('where group having order limit union intersect except returning set'.split(' '))
/** Words that may come where an alias could. */
const NO_ALIAS = new Set(
  `${[...FROM_ENDERS].join(' ')} join inner left right full cross natural straight_join outer on using offset fetch values
  window for default select with tablesample indexed not use force ignore partition as when then do lock into conflict
  duplicate semi anti lateral qualify`.split(/\s+/),
)
const WRITES = new Set(['insert', 'update', 'delete', 'replace'])

/** A query, up to the `)` or the end: `[WITH …] SELECT …`, or a write where that may stand. */
export function readQuery(reader: Reader): void {
  const known = reader.ctes.length
  if (reader.is('with')) readCtes(reader)
  if (WRITES.has(reader.word())) readWrite(reader)
  else readBody(reader, false)
  reader.ctes.length = known
}

/** INSERT, REPLACE, UPDATE or DELETE. */
export function readWrite(reader: Reader): void {
  const verb = reader.next().word
  if (verb === 'insert' || verb === 'replace') readInsert(reader)
  else if (verb === 'update') readUpdate(reader)
  else readDelete(reader)
}

/** Names of WITH are no tables where they are known: behind their own query, and in it when it is recursive. */
function readCtes(reader: Reader): void {
  reader.expect('with')
  const recursive = reader.take('recursive')
  do {
    const { name } = reader.plainName()
    if (recursive) reader.ctes.push(key(name))
    if (reader.is('(')) readParentheses(reader)
    reader.expect('as')
    if (!reader.take('not', 'materialized')) reader.take('materialized')
    reader.expect('(')
    readQuery(reader)
    reader.expect(')')
    if (!recursive) reader.ctes.push(key(name))
  } while (reader.take(','))
}

function readInsert(reader: Reader): void {
  if (reader.take('or')) reader.next()
  reader.take('ignore')
  reader.take('into')
  const table = reader.object()
  if (reader.take('as')) reader.knowAlias(reader.plainName().name)
  else reader.knowTable(table)
  if (reader.is('(') && !['select', 'with', '('].includes(reader.word(1))) readParentheses(reader)
  if (reader.is('values', '(')) readRows(reader)
  if (!reader.takeQuery()) readBody(reader, false)
}

/** `VALUES (…), (…) AS new`; MySQL has an alias there. */
function readRows(reader: Reader): void {
  reader.expect('values')
  do readParentheses(reader)
  while (reader.take(','))
  if (reader.is('as')) readAlias(reader)
}

function readUpdate(reader: Reader): void {
  if (reader.take('or')) reader.next()
  reader.take('ignore')
  readTable(reader)
  readBody(reader, true)
}

/** `DELETE a FROM …`, which MySQL has, is refused. */
function readDelete(reader: Reader): void {
  reader.take('ignore')
  reader.expect('from')
  readTable(reader)
  if (reader.take('using')) readTable(reader)
  readBody(reader, true)
}

/** Clauses up to the `)` or the end. `inTables`: whether a comma is followed by another table. */
function readBody(reader: Reader, tables: boolean): void {
  let inTables = tables
  for (;;) {
    const lexeme = reader.peek()
    if (lexeme === undefined || lexeme.word === ')') return
    const { word } = lexeme
    if (word === ',') {
      reader.next()
      if (inTables) readTable(reader)
      continue
    }
    if (word === 'select') {
      reader.next()
      inTables = false
      continue
    }
    // `"orders".from` and `"x" AS from` are columns: a qualified one is read as a whole.
    if (word === 'from') {
      reader.next()
      if (isDistinctFrom(reader)) continue
      readTable(reader)
      inTables = true
      continue
    }
    if (word === 'join' || word === 'straight_join' || isApply(reader)) {
      reader.next()
      readTable(reader)
      continue
    }
    if (word === 'into') reader.refuse('SELECT INTO')
    if (word === 'using' && reader.word(1) !== '(') reader.refuse()
    if (FROM_ENDERS.has(word) || isWindow(reader) || isOnDuplicate(reader)) inTables = false
    readPart(reader)
  }
}

/** `CROSS APPLY`, `OUTER APPLY`. */
function isApply(reader: Reader): boolean {
  return reader.is('apply') && ['cross', 'outer'].includes(reader.word(-1))
}

function isWindow(reader: Reader): boolean {
  return reader.word() === 'window' && reader.word(2) === 'as' && reader.word(3) === '('
}

function isOnDuplicate(reader: Reader): boolean {
  return reader.is('on', 'duplicate', 'key') || reader.is('on', 'conflict')
}

/** One table of FROM, JOIN, UPDATE or DELETE, with its alias. */
function readTable(reader: Reader): void {
  if (reader.is('lateral', '(') || (reader.is('lateral') && reader.word(2) === '(')) reader.next()
  if (reader.is('only') && reader.word(1) !== '(' && reader.peek(1)?.name !== undefined) reader.next()
  if (reader.is('(')) return readDerived(reader)
  const lexeme = reader.peek()
  if (lexeme?.name === undefined || (!lexeme.quoted && NO_ALIAS.has(lexeme.word))) reader.refuse()
  if (reader.word(1) === '(') {
    if (lexeme.quoted) reader.refuse(`${lexeme.text} is called like a function: write its name without quotes`)
    readPart(reader)
    if (reader.word() === '(') readParentheses(reader)
    reader.take('with', 'ordinality')
    readAlias(reader)
    return
  }
  if (reader.ctes.includes(key(lexeme.name)) && reader.word(1) !== '.') {
    reader.next()
    if (!readAlias(reader)) reader.knowAlias(lexeme.name)
    return
  }
  const table = reader.object()
  if (reader.is('indexed', 'by') || ['use', 'force', 'ignore'].includes(reader.word())) reader.refuse('an index hint')
  if (!readAlias(reader)) reader.knowTable(table)
}

/** `(SELECT …) AS x`, `(VALUES …) AS x` or `(a JOIN b …)`. */
function readDerived(reader: Reader): void {
  reader.expect('(')
  if (reader.is('values')) readBody(reader, false)
  else if (!reader.takeQuery()) {
    readTable(reader)
    readBody(reader, true)
  }
  reader.expect(')')
  readAlias(reader)
}

/** `[AS] x [(column, …)]`. */
function readAlias(reader: Reader): boolean {
  const explicit = reader.take('as')
  const lexeme = reader.peek()
  if (lexeme?.name === undefined || (!explicit && !lexeme.quoted && NO_ALIAS.has(lexeme.word))) {
    if (explicit) reader.refuse()
    return false
  }
  reader.knowAlias(reader.plainName().name)
  if (reader.is('(')) readParentheses(reader)
  return true
}
