import { DdlRefusal, type DdlTemplate } from '../../contracts/migrator.ts'
import type { SharedTables } from '../../contracts/shared-tables.ts'
import { type NamedDdl, parseNamedDdl } from '../../sql/ddl/named-ddl.ts'
import { type SharedNames, sharedNames } from '../../sql/ddl/shared-names.ts'
import { type Lexeme, lexemesOf, split } from './ddl-lexemes.ts'
import { knownNames, unqualify } from './ddl-names.ts'
import { checkAnywhere, checkVerb, isCreatePublic, isRoutine } from './ddl-verbs.ts'
import { layoutOf, type LayoutOptions } from './layout.ts'
import { postgresProfile } from './profile.ts'

/** The languages of a body that can be read; white space, names and strings in them follow the rules of SQL. */
type Language = 'sql' | 'plpgsql'

/** PL/pgSQL words after which a statement begins. */
const BLOCK_WORDS = new Set(['begin', 'then', 'else', 'loop'])

/**
 * Rewrites a piece of the user's Drizzle migrations, one or more statements, so that it runs inside a tenant's schema:
 * drops the qualifier `public`, in the bodies of DO and of functions too, and leaves every other character alone.
 *
 * An empty string means: nothing to run. The result must run with the tenant's schema first on the search path. `shared`
 * are tables that all tenants use: a reference to one gets its schema.
 * @throws DdlRefusal for what does not belong in a tenant's schema or is not understood; the reason names what was found
 */
export function rewriteDdl(statement: string, shared?: SharedNames): string {
  return rewrite(statement, 'sql', { names: new Set(), shared })
}

/**
 * Reads statements once. In a schema of its own the text is the same for every tenant; where tenants share one, every name
 * gets the tenant's prefix, and less is understood: functions and triggers are refused there.
 */
export function createDdlParser(schemas: LayoutOptions, tables?: SharedTables): (statement: string) => DdlTemplate {
  const shared = sharedNames(tables, { qualifier: [tables?.schema ?? ''], prefix: '' }, postgresProfile)
  return function parseDdl(statement) {
    const text = rewriteDdl(statement, shared)
    let named: NamedDdl | undefined
    return Object.freeze({
      render(scope) {
        if (scope.strategy !== 'prefix') return text
        named ??= parseNamedDdl(statement, postgresProfile, shared)
        return named.render(layoutOf(scope, schemas).naming)
      },
    } satisfies DdlTemplate)
  }
}

/** What is known around a piece of text. */
interface Surroundings {
  /** Names that stand alone outside. */
  readonly names: ReadonlySet<string>
  readonly shared: SharedNames | undefined
}

function rewrite(text: string, language: Language, { names: outerNames, shared }: Surroundings): string {
  const { tokens, lexemes } = lexemesOf(text)
  const texts = tokens.map((token) => token.text)
  // A variable of PL/pgSQL is known in the whole body, a table only in its statement.
  const bodyNames = language === 'plpgsql' ? knownNames(lexemes) : undefined
  const statements = split(lexemes, ({ word }) => word === ';')
  let left = statements.length
  for (const statement of statements) {
    if (language === 'sql' && isCreatePublic(statement)) {
      left--
      dropStatement(statement, texts)
      continue
    }
    const known = new Set([...outerNames, ...(bodyNames ?? knownNames(statement))])
    for (const at of statement.keys()) checkAnywhere(statement, at, language === 'plpgsql')
    const startsBlock = ({ word, depth }: Lexeme) => depth === 0 && BLOCK_WORDS.has(word)
    for (const part of language === 'plpgsql' ? split(statement, startsBlock) : [statement]) {
      checkVerb(part, language === 'plpgsql')
      unqualify(part, known, texts, shared)
      rewriteBody(part, { names: known, shared }, texts)
    }
  }
  return left === 0 && language === 'sql' ? '' : texts.join('')
}

function dropStatement(statement: readonly Lexeme[], texts: string[]): void {
  for (const { index } of statement) texts[index] = ''
  const last = statement.at(-1)?.index ?? 0
  const semicolon = texts.findIndex((text, index) => index > last && text === ';')
  if (semicolon >= 0) texts[semicolon] = ''
}

/** The body of DO and of CREATE FUNCTION or PROCEDURE is SQL inside a string. */
function rewriteBody(statement: readonly Lexeme[], surroundings: Surroundings, texts: string[]): void {
  const isDo = statement[0]?.word === 'do'
  // In PL/pgSQL the last branch of a MERGE looks like a statement.
  if (isDo && statement[1]?.word === 'nothing') return
  if (!isDo && !(statement[0]?.word === 'create' && isRoutine(statement))) return
  const language = languageOf(statement) ?? (isDo ? 'plpgsql' : undefined)
  if (language !== 'sql' && language !== 'plpgsql') {
    throw new DdlRefusal(
      `a function in the language ${language ?? '(none given)'}: only sql and plpgsql can be checked`,
    )
  }
  const body = statement.find(({ token }, at) => isBody(token.kind) && bodyFollows(statement[at - 1]?.word, isDo))
  const delimiter = body?.token.delimiter
  if (body === undefined || delimiter === undefined) {
    // RETURN expression, the one form without a body in a string, holds names like any other statement.
    if (body === undefined && !isDo && statement.some(({ word, depth }) => word === 'return' && depth === 0)) return
    throw new DdlRefusal('a body that is not dollar-quoted: write it as $$ … $$')
  }
  const inner = body.token.text.slice(delimiter.length, -delimiter.length)
  texts[body.index] = delimiter + rewrite(inner, language, surroundings) + delimiter
}

function bodyFollows(word: string | undefined, isDo: boolean): boolean {
  return isDo ? word !== 'language' : word === 'as'
}

function languageOf(statement: readonly Lexeme[]): string | undefined {
  const at = statement.findIndex(({ word, depth }) => word === 'language' && depth === 0)
  const language = statement[at + 1]
  if (at < 0 || language === undefined) return undefined
  return (language.name ?? language.token.text.replaceAll("'", '')).toLowerCase()
}

function isBody(kind: string): boolean {
  return kind === 'dollar-string' || kind === 'string'
}
