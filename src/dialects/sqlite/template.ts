import type { Lexeme } from '../../sql/ddl/lexemes.ts'
import type { Naming } from '../../sql/naming.ts'
import { SHARED_TOKEN, TENANT_TOKEN, tenantName } from '../../sql/scoped-text.ts'
import { sqliteProfile } from './profile.ts'

/**
 * How a tenant name is written:
 * - `table`: `"t1__orders" AS "orders"`
 * - `plain`: `"t1__orders"`, where an alias follows or none may stand
 * - `column`: `"orders"`, what qualifies a column
 */
type Role = 'table' | 'plain' | 'column'

interface TemplateName {
  readonly token: typeof TENANT_TOKEN | typeof SHARED_TOKEN
  readonly name: string
  /** The name in quotes. */
  readonly alias: string
  readonly role: Role
}

/** What names of each kind become. */
export interface Namings {
  readonly tenant?: Naming
  /** Undefined for a name that is none of a table that all tenants use. */
  shared?(name: string): Naming | undefined
}

/** A statement cut at its tenant names: text, name, text, name, … text. */
export interface Template {
  readonly texts: readonly string[]
  readonly names: readonly TemplateName[]
  /** As it is written for whoever has a file to itself: the same for all of them. */
  readonly bare: string
}

/** Of whoever has a file to itself. */
const BARE: Namings = { tenant: { qualifier: [], prefix: '' } }

/** What may stand after the name of a table; any other word there is its alias. */
const FOLLOWERS = new Set(
  '( ) , ; where join inner left right full cross natural outer on using group order having limit union intersect except set values returning window default select with indexed not do from replace'.split(
    ' ',
  ),
)

/**
 * Finds the `"__tenant__"."name"` and `"__shared__"."name"` of a statement. Each table gets its plain name as an alias, because drizzle-orm 0.45
 * leaves the schema out of the select list of joins: `"orders"."id"` and `"__tenant__"."orders"."id"` then mean the same.
 */
export function templateOf(text: string, lexemes: readonly Lexeme[]): Template {
  if (!text.includes(TENANT_TOKEN) && !text.includes(SHARED_TOKEN)) return untouched(text)
  const places = lexemes.flatMap((_, at) => placeAt(lexemes, at) ?? [])
  const returned = returnedTable(lexemes, places)
  const texts: string[] = []
  const names: TemplateName[] = []
  let from = 0
  for (const { start, end, token, name, alias, role, at } of places) {
    texts.push(text.slice(from, start))
    // RETURNING knows the table by its own name only.
    const renamed = role === 'column' && name === returned?.name && at > returned.at
    names.push({ token, name, alias, role: renamed ? 'plain' : role })
    from = end
  }
  texts.push(text.slice(from))
  return { texts, names, bare: render({ texts, names }, BARE) }
}

/** Of a statement in which no names are to be written. */
export function untouched(text: string): Template {
  return { texts: [text], names: [], bare: text }
}

/** Writes a statement for one tenant. */
export function render({ texts, names }: Omit<Template, 'bare'>, namings: Namings): string {
  let written = texts[0] as string
  for (let i = 0; i < names.length; i++) {
    written += writtenName(names[i] as TemplateName, namings) + (texts[i + 1] as string)
  }
  return written
}

function writtenName({ token, name, alias, role }: TemplateName, { tenant, shared }: Namings): string {
  const naming = token === TENANT_TOKEN ? tenant : shared?.(name)
  // What is nobody's stays as it is, and fails.
  if (naming === undefined) return `${sqliteProfile.quoteName(token)}.${alias}`
  if (role === 'column') return alias
  const own = tenantName(name, naming, sqliteProfile)
  return role === 'plain' || own === alias ? own : `${own} AS ${alias}`
}

interface Place extends TemplateName {
  readonly at: number
  readonly depth: number
  readonly start: number
  readonly end: number
}

function placeAt(lexemes: readonly Lexeme[], at: number): Place | undefined {
  const [token, dot, target] = [lexemes[at], lexemes[at + 1], lexemes[at + 2]]
  if (token?.quoted !== true || dot?.word !== '.') return undefined
  if (token.name !== TENANT_TOKEN && token.name !== SHARED_TOKEN) return undefined
  if (target?.quoted !== true || target.name === undefined) return undefined
  const role = roleOf(lexemes[at - 1], lexemes[at + 3])
  const { name } = target
  const alias = sqliteProfile.quoteName(name)
  return { at, role, token: token.name, name, alias, depth: token.depth, start: token.start, end: target.end }
}

function roleOf(before: Lexeme | undefined, after: Lexeme | undefined): Role {
  if (after?.word === '.') return 'column'
  // `x IN table` takes no alias.
  if (before?.word === 'in') return 'plain'
  return after === undefined || (!after.quoted && FOLLOWERS.has(after.word)) ? 'table' : 'plain'
}

/** The table that a RETURNING is about, with the place of that word; none when it is read again inside. */
function returnedTable(
  lexemes: readonly Lexeme[],
  places: readonly Place[],
): { readonly name: string; readonly at: number } | undefined {
  const at = lexemes.findIndex(({ word, depth }) => word === 'returning' && depth === 0)
  const target = places.find(({ depth, role }) => depth === 0 && role !== 'column')
  if (at < 0 || target === undefined) return undefined
  const again = places.some((place) => place.at > at && place.role !== 'column' && place.name === target.name)
  return again ? undefined : { name: target.name, at }
}
