import { DdlRefusal } from '../../contracts/migrator.ts'
import { type Naming, prefixedName } from '../naming.ts'
import type { SqlProfile } from '../profile.ts'
import { tenantName } from '../scoped-text.ts'
import { lexemesOf } from './lexemes.ts'

/** A name of one tenant, with qualifier and prefix. */
export const objectName = tenantName

/** A name of one tenant, with the prefix only. */
export function ownName(name: string, { prefix }: Naming, profile: SqlProfile): string {
  return profile.quoteName(prefix === '' ? name : prefixedName(prefix, name, profile.maxNameBytes))
}

/**
 * Reads a string that functions such as `nextval` take for a name, and gives a function that writes it for a tenant.
 * @throws DdlRefusal when it is not one plain name
 */
export function nameInString(text: string, profile: SqlProfile): (naming: Naming) => string {
  const refusal = () => new DdlRefusal(`${text.slice(0, 80)} names an object in a string: write it as one plain name`)
  const content = text.slice(1, -1)
  if (!text.startsWith("'") || /['\\]/.test(content)) throw refusal()
  const lexemes = lexemesOf(content, profile)
  const own = lexemes.length === 3 && lexemes[0]?.name === profile.ddl.ownSchema && lexemes[1]?.word === '.'
  const [name, ...rest] = own ? lexemes.slice(2) : lexemes
  if (name?.name === undefined || rest.length > 0) throw refusal()
  const plain = name.name
  return (naming) => `'${objectName(plain, naming, profile).replaceAll("'", "''")}'`
}

/** What the database calls a constraint without a name, where that is not what it would be with the tenant's prefix. */
export function impliedConstraint(name: string, naming: Naming, profile: SqlProfile): string {
  const { prefix } = naming
  // As long as nothing is cut, the database makes the very same name of the prefixed table.
  if (prefix === '' || Buffer.byteLength(prefix + name) <= profile.maxNameBytes) return ''
  return `CONSTRAINT ${ownName(name, naming, profile)} `
}
