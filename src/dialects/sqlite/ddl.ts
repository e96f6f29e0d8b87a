import { DdlRefusal, type DdlTemplate } from '../../contracts/migrator.ts'
import type { SharedTables } from '../../contracts/shared-tables.ts'
import { type Lexeme, lexemesOf } from '../../sql/ddl/lexemes.ts'
import { type NamedDdl, parseNamedDdl } from '../../sql/ddl/named-ddl.ts'
import { type SharedNames, sharedNames } from '../../sql/ddl/shared-names.ts'
import { layoutOf, sharedNaming } from './layout.ts'
import { LEDGER } from './ledger.ts'
import { sqliteProfile } from './profile.ts'
import { misread, outReach } from './reach.ts'

/** What a migration may do. Transaction control is not in it, nor what reaches out of the file or lasts longer than it. */
const VERBS = new Set('create alter drop insert update delete replace with select values reindex analyze'.split(' '))
/** Words that no migration of a tenant needs, wherever they stand unquoted. */
const REFUSED = new Set(['attach', 'detach', 'vacuum', 'temp', 'temporary'])
/** What drizzle-kit writes around the statements that rebuild a table. Foreign keys are off in a migration anyway. */
const FOREIGN_KEYS = /^pragma (?:foreign_keys|defer_foreign_keys) = (?:on|off|0|1|true|false)$/

/**
 * Reads pieces of the user's migrations, each once. In a file of its own it runs as it is written; where tenants share a file
 * every name gets the tenant's prefix, and less is understood: triggers and virtual tables are refused there.
 * @throws DdlRefusal
 */
export function createDdlParser(shared?: SharedTables): (statement: string) => DdlTemplate {
  const names = sharedNames(shared, sharedNaming(shared?.schema ?? ''), sqliteProfile)
  return function parseDdl(statement) {
    const text = checked(statement)
    let named: NamedDdl | undefined
    return Object.freeze({
      render(scope) {
        const { own, naming } = layoutOf(scope)
        if (own || text === '') return text
        named ??= parsePrefixed(text, names)
        return named.render(naming)
      },
    } satisfies DdlTemplate)
  }
}

/** Reads a piece of the migrations of tables that all tenants use. @throws DdlRefusal */
export function parseSharedDdl(statement: string, schema: string): DdlTemplate {
  const text = checked(statement)
  const written = text === '' ? '' : parsePrefixed(text).render(sharedNaming(schema))
  return Object.freeze({ render: () => written })
}

function parsePrefixed(text: string, names?: SharedNames): NamedDdl {
  // What it holds is named in strings that only its module reads.
  if (lexemesOf(text, sqliteProfile).some(({ word }) => word === 'virtual')) {
    throw new DdlRefusal('VIRTUAL TABLE: not in a migration whose names are written per tenant')
  }
  return parseNamedDdl(text, sqliteProfile, names)
}

/** The text without the settings of drizzle-kit; empty when nothing else is in it. */
function checked(text: string): string {
  const lexemes = lexemesOf(text, sqliteProfile)
  const refusal = misread(text, lexemes) ?? outReach(lexemes)
  if (refusal !== undefined) throw new DdlRefusal(refusal)
  let kept = ''
  let from = 0
  let left = 0
  let inTrigger = false
  for (const part of partsOf(lexemes)) {
    const words = part.filter(({ word }) => word !== ';').map((lexeme) => lexeme.text.toLowerCase())
    if (!inTrigger && FOREIGN_KEYS.test(words.join(' '))) {
      kept += text.slice(from, part[0]?.start)
      from = part.at(-1)?.end ?? from
    } else if (words.length > 0) {
      left++
      check(part, inTrigger)
      inTrigger = inTrigger ? words[0] !== 'end' : opensTrigger(words)
    }
  }
  return left === 0 ? '' : kept + text.slice(from)
}

/** The statements of a trigger end with semicolons too. */
function opensTrigger(words: readonly string[]): boolean {
  return words[0] === 'create' && words[1] === 'trigger' && words.includes('begin')
}

function check(part: readonly Lexeme[], inTrigger: boolean): void {
  const verb = part[0]?.word ?? ''
  if (!VERBS.has(verb) && !(inTrigger && verb === 'end')) {
    throw new DdlRefusal(`a statement that begins with ${part[0]?.text.slice(0, 40) ?? ''}`)
  }
  for (const [at, { word, name, text }] of part.entries()) {
    if (REFUSED.has(word)) throw new DdlRefusal(word.toUpperCase())
    if (name?.toLowerCase() === 'temp' && part[at + 1]?.word === '.') throw new DdlRefusal(`${text}.…`)
    if (name?.toLowerCase() === LEDGER) throw new DdlRefusal(`the table ${LEDGER}`)
  }
}

/** Pieces up to and with each semicolon. */
function partsOf(lexemes: readonly Lexeme[]): Lexeme[][] {
  const parts: Lexeme[][] = [[]]
  for (const lexeme of lexemes) {
    parts.at(-1)?.push(lexeme)
    if (lexeme.word === ';') parts.push([])
  }
  return parts.filter((part) => part.length > 0)
}
