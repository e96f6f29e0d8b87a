import type { Naming } from '../naming.ts'
import { prefixedName } from '../naming.ts'
import type { SqlProfile } from '../profile.ts'
import { type Lexeme, lexemesOf } from './lexemes.ts'
import type { Reader } from './reader.ts'
import { objectName, ownName } from './written-names.ts'

/** What is renamed: an object of the schema, or what belongs to a table. */
type Kind = 'object' | 'column' | 'index'

/**
 * `EXEC sp_rename 'orders.total', [sum], 'COLUMN'`, behind EXEC. The first name is SQL in a string, the second one is no
 * SQL: it becomes the very name.
 */
export function readRenameCall(reader: Reader): void {
  reader.expect('sp_rename')
  const from = readText(reader)
  reader.expect(',')
  const to = reader.peek()
  const name =
    to?.name !== undefined && reader.word(1) !== "'" && !isNational(reader) ? reader.plainName().name : undefined
  const text = name === undefined ? readText(reader) : undefined
  const kind = reader.take(',') ? kindOf(reader, readText(reader)) : 'object'
  const names = namesIn(reader, from.content, kind)
  const { profile } = reader
  reader.edits.push(
    { ...from.place, write: (naming) => literal(written(names, kind, naming, profile)) },
    {
      ...(text?.place ?? placeOf(to ?? reader.refuse())),
      write: ({ prefix }) => {
        const given = name ?? text?.content ?? ''
        const plain = kind === 'column' || prefix === '' ? given : prefixedName(prefix, given, profile.maxNameBytes)
        return literal(plain)
      },
    },
  )
}

interface Place {
  readonly start: number
  readonly end: number
}

/** `'…'` or `N'…'`, which are two lexemes. */
function readText(reader: Reader): { readonly content: string; readonly place: Place } {
  const { start } = reader.peek() ?? reader.refuse()
  if (isNational(reader)) reader.next()
  const { string, text, end } = reader.peek() ?? reader.refuse()
  if (!string) reader.refuse()
  reader.next()
  return { content: text.slice(1, -1).replaceAll("''", "'"), place: { start, end } }
}

function isNational(reader: Reader): boolean {
  const next = reader.peek(1)
  return reader.is('n') && next?.string === true && next.start === reader.peek()?.end
}

function placeOf({ start, end }: Lexeme): Place {
  return { start, end }
}

function kindOf(reader: Reader, { content }: { readonly content: string }): Kind {
  const kind = content.toLowerCase()
  if (kind !== 'object' && kind !== 'column' && kind !== 'index')
    reader.refuse(`sp_rename of a ${content.slice(0, 40)}`)
  return kind
}

/** The names in the string, outermost first, without the schema that means nothing. */
function namesIn(reader: Reader, content: string, kind: Kind): readonly string[] {
  const lexemes = lexemesOf(content, reader.profile)
  const names = lexemes.filter((_, at) => at % 2 === 0).map(({ name }) => name)
  const dotted = lexemes.every(({ word }, at) => at % 2 === 0 || word === '.')
  const wanted = kind === 'object' ? 1 : 2
  if (names.length === wanted + 1 && names[0] === reader.profile.ddl.ownSchema) names.shift()
  if (!dotted || names.length !== wanted || names.includes(undefined)) {
    reader.refuse(`sp_rename of '${content.slice(0, 80)}': write it as one plain name, without a schema`)
  }
  return names as string[]
}

function written(names: readonly string[], kind: Kind, naming: Naming, profile: SqlProfile): string {
  const [outer = '', inner = ''] = names
  const object = objectName(outer, naming, profile)
  if (kind === 'object') return object
  return `${object}.${kind === 'column' ? profile.quoteName(inner) : ownName(inner, naming, profile)}`
}

function literal(text: string): string {
  return `N'${text.replaceAll("'", "''")}'`
}
