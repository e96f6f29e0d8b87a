import { DdlRefusal } from '../../contracts/migrator.ts'
import type { Naming } from '../naming.ts'
import type { SqlProfile } from '../profile.ts'
import { readBlock } from './blocks.ts'
import { type Lexeme, lexemesOf, splitStatements } from './lexemes.ts'
import type { Edit } from './reader.ts'
import type { SharedNames } from './shared-names.ts'
import { readStatement } from './statements.ts'

/** A piece of a migration in which the tenant's own names are known. */
export interface NamedDdl {
  /** The same with the names of one tenant; empty when there is nothing to run. */
  render(naming: Naming): string
}

/**
 * Reads one piece of the user's migrations, one or more statements, and finds every name of an object of the tenant's own:
 * tables, views, sequences, types, indexes, constraints. Columns, strings and comments stay as they are.
 *
 * Only what is understood is let through. What is not recognised as a name stays as it is, and finds nothing: where this is
 * used no unqualified name means anything. Tables that all tenants use may only be referred to.
 * @throws DdlRefusal
 */
export function parseNamedDdl(sql: string, profile: SqlProfile, shared?: SharedNames): NamedDdl {
  const lexemes = lexemesOf(sql, profile)
  refuseJoined(lexemes)
  const statements = splitStatements(lexemes)
  const kept = statements.filter((statement) => !makesOwnSchema(statement, profile))
  const edits = statements.flatMap((statement) => {
    if (!kept.includes(statement)) return statement.map(({ start, end }) => ({ start, end, write: () => '' }))
    return readBlock(statement, { profile, shared }) ?? readStatement(statement, { profile, shared })
  })
  // Nothing but semicolons would be left.
  if (kept.length === 0) return Object.freeze({ render: () => '' })
  const sorted = edits.toSorted((one, other) => one.start - other.start)
  return Object.freeze({ render: (naming) => written(sql, sorted, naming) } satisfies NamedDdl)
}

function written(sql: string, edits: readonly Edit[], naming: Naming): string {
  let text = ''
  let from = 0
  for (const { start, end, write } of edits) {
    if (start < from) throw new DdlRefusal('one name was read twice')
    text += sql.slice(from, start) + write(naming)
    from = end
  }
  return text + sql.slice(from)
}

/** `2fa` is one name to MySQL, and a number and a word to others. */
function refuseJoined(lexemes: readonly Lexeme[]): void {
  for (const [at, { start, text, word, name }] of lexemes.entries()) {
    const before = lexemes[at - 1]
    if (name === undefined || word === '' || before?.end !== start || !/^[.\d]/.test(before.text)) continue
    if (before.text !== '.') throw new DdlRefusal(`the name ${before.text}${text}: quote it`)
  }
}

/** `CREATE SCHEMA "public"`, which drizzle-kit may write and which means nothing here. */
function makesOwnSchema(statement: readonly Lexeme[], { ddl }: SqlProfile): boolean {
  const words = statement.filter(({ word }) => !['if', 'not', 'exists'].includes(word))
  return (
    words.length === 3 &&
    words[0]?.word === 'create' &&
    words[1]?.word === 'schema' &&
    ddl.ownSchema !== undefined &&
    words[2]?.name === ddl.ownSchema
  )
}
