import { readOnce } from '../util/read-once.ts'
import { type Naming, prefixedName } from './naming.ts'
import type { SqlProfile } from './profile.ts'
import { quotedNames } from './quoted-names.ts'

/**
 * Stands for the tenant's container in the SQL that Drizzle builds from adopted tables. Nothing is ever called so: a
 * statement in which it is left standing fails.
 */
export const TENANT_TOKEN = '__tenant__'

/** The same for tables that all tenants use, where a database has no schema for them. */
export const SHARED_TOKEN = '__shared__'

/** Writes the statements of one tenant: every `"__tenant__"."name"` becomes the tenant's own name. */
export type TextScoper = (naming: Naming) => (text: string) => string

/** A statement cut at its tenant names: text, name, text, name, … text. */
interface Template {
  readonly texts: readonly string[]
  readonly names: readonly string[]
  /** The names in quotes. */
  readonly quoted: readonly string[]
  /** As it is written for whoever needs nothing before a name: the same for all of them. */
  readonly bare: string
}

/** Builds the {@link TextScoper} of a database. A statement is read once and written for each tenant. */
export function createTextScoper(profile: SqlProfile): TextScoper {
  const templateOf = readOnce((text) => parse(text, profile))
  return (naming) => {
    // Most tenants have no prefix: what stands before a name is the same for all of theirs.
    const before = naming.prefix === '' ? qualifierText(naming, profile) : undefined
    return function scopeText(text) {
      if (!text.includes(TENANT_TOKEN)) return text
      const template = templateOf(text)
      if (before === '') return template.bare
      if (before !== undefined) return join(template.texts, template.quoted, before)
      const names = template.names.map((name) => tenantName(name, naming, profile))
      return join(template.texts, names, '')
    }
  }
}

/** The full name of one tenant's object, quoted. */
export function tenantName(name: string, naming: Naming, profile: SqlProfile): string {
  const { prefix } = naming
  const own = profile.quoteName(prefix === '' ? name : prefixedName(prefix, name, profile.maxNameBytes))
  return qualifierText(naming, profile) + own
}

function qualifierText({ qualifier }: Naming, profile: SqlProfile): string {
  return qualifier.map((part) => `${profile.quoteName(part)}.`).join('')
}

function parse(text: string, profile: SqlProfile): Template {
  const texts: string[] = []
  const names: string[] = []
  const found = quotedNames(text, profile)
  let from = 0
  for (const [i, token] of found.entries()) {
    const target = found[i + 1]
    if (token.name !== TENANT_TOKEN || target === undefined || text.slice(token.end, target.start) !== '.') continue
    texts.push(text.slice(from, token.start))
    names.push(target.name)
    from = target.end
  }
  texts.push(text.slice(from))
  const quoted = names.map((name) => profile.quoteName(name))
  return { texts, names, quoted, bare: join(texts, quoted, '') }
}

function join(texts: readonly string[], names: readonly string[], before: string): string {
  let joined = texts[0] as string
  for (let i = 0; i < names.length; i++) joined += before + (names[i] as string) + (texts[i + 1] as string)
  return joined
}
