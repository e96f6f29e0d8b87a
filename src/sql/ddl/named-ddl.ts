import { DdlRefusal } from '../../contracts/migrator.ts'
import { type Naming, prefixedName } from '../naming.ts'
import type { SqlProfile } from '../profile.ts'
import { tenantName } from '../scoped-text.ts'
import { type Lexeme, lexemesOf } from './lexemes.ts'
import { findNames, type FoundName } from './object-names.ts'

/** A piece of a migration in which the tenant's own names are known. */
export interface NamedDdl {
  /** The same with the names of one tenant. */
  render(naming: Naming): string
}

/** What a migration may do where names are written into the text. */
const VERBS = new Set('create alter drop insert update delete comment truncate rename with replace'.split(' '))

/**
 * Reads one piece of the user's migrations, one or more statements, and finds every name of an object of the tenant's own:
 * tables, views, sequences, types, indexes, constraints. Columns, strings and comments stay as they are.
 *
 * Only what is understood is let through. What is not recognised as a name stays as it is, and finds nothing: where this is
 * used no unqualified name means anything.
 * @throws DdlRefusal
 */
export function parseNamedDdl(sql: string, profile: SqlProfile): NamedDdl {
  const statements = splitStatements(lexemesOf(sql, profile))
  const kept = statements.filter((statement) => !makesOwnSchema(statement, profile))
  const names: FoundName[] = []
  const dropped: Lexeme[] = statements.filter((statement) => !kept.includes(statement)).flat()
  for (const statement of kept) {
    const verb = statement[0]?.word ?? ''
    if (!VERBS.has(verb)) throw new DdlRefusal(`a statement that begins with ${statement[0]?.text.slice(0, 40) ?? ''}`)
    const found = findNames(statement, profile)
    names.push(...found.names)
    dropped.push(...found.dropped)
  }
  const cuts = [...names, ...dropped.map((lexeme) => ({ lexeme, role: 'nothing' as const }))]
  cuts.sort((one, other) => one.lexeme.start - other.lexeme.start)
  return Object.freeze({
    render(naming: Naming) {
      if (kept.length === 0) return ''
      let text = ''
      let from = 0
      for (const { lexeme, role } of cuts) {
        text += sql.slice(from, lexeme.start)
        if (role !== 'nothing') text += written(lexeme.name ?? '', role, naming, profile)
        from = lexeme.end
      }
      return text + sql.slice(from)
    },
  })
}

function written(name: string, role: 'object' | 'name', naming: Naming, profile: SqlProfile): string {
  if (role === 'object') return tenantName(name, naming, profile)
  const { prefix } = naming
  return profile.quoteName(prefix === '' ? name : prefixedName(prefix, name, profile.maxNameBytes))
}

function splitStatements(lexemes: readonly Lexeme[]): Lexeme[][] {
  const statements: Lexeme[][] = [[]]
  for (const lexeme of lexemes) {
    if (lexeme.word === ';') statements.push([])
    else statements.at(-1)?.push(lexeme)
  }
  return statements.filter((statement) => statement.length > 0)
}

/** `CREATE SCHEMA "public"`, which drizzle-kit may write and which means nothing here. */
function makesOwnSchema(statement: readonly Lexeme[], { ddl }: SqlProfile): boolean {
  const words = statement.filter(({ word }) => !['if', 'not', 'exists'].includes(word))
  return (
    words.length === 3 && words[0]?.word === 'create' && words[1]?.word === 'schema' && words[2]?.name === ddl.ownSchema
  )
}
