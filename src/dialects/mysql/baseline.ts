import type { AdminConnection } from '../../contracts/dialect.ts'
import { grantCovers } from './grant-pattern.ts'

/** Rights on everything that break the rule whatever else is set up. */
const GRANT = /^GRANT (.+?) ON (?:(?:FUNCTION|PROCEDURE|PACKAGE|PACKAGE BODY) )?(\S+) TO /
/** Databases of the server itself. */
const SYSTEM = /^[`"']?(mysql|sys|performance_schema)[`"']?\./i

/**
 * Asks the serving account what it could do without a tenant. The right answer is: nothing.
 * @returns one sentence for every way in which it reaches something
 */
export async function checkBaseline(
  query: AdminConnection['query'],
  accounts: { readonly serving: string; readonly admin: string },
  registry: string,
): Promise<readonly string[]> {
  const breaches: string[] = []
  if (accounts.serving === accounts.admin) {
    breaches.push('it is the admin account too: set adminDatabaseUrl and serve with an account of its own')
  }
  for (const row of await query<Record<string, string>>('show grants'))
    breaches.push(...breachesOf(Object.values(row)[0], registry))
  return breaches
}

/** What one line of SHOW GRANTS allows beyond rows of one tenant's database; `registry` is nobody's. */
export function breachesOf(grant = '', registry = ''): string[] {
  const [, rights = '', object = ''] = GRANT.exec(grant) ?? []
  const breaches: string[] = []
  if (object === '*.*' && rights !== 'USAGE') breaches.push(`it has ${rights} on all databases`)
  if (covers(object, registry)) breaches.push(`it has ${rights} on ${object}, where the registry of tenants is`)
  if (SYSTEM.test(object)) breaches.push(`it has ${rights} on ${object}`)
  // A procedure costs its connection; of a function in a SELECT the server does not tell.
  if (/\b(EXECUTE|ALL PRIVILEGES)\b/.test(rights)) {
    breaches.push(
      `it can run stored functions on ${object}: what one keeps in a user variable the next tenant can read`,
    )
  }
  if (rights !== 'PROXY' && grant.endsWith(' WITH GRANT OPTION')) breaches.push('it can grant its rights to others')
  return breaches
}

/** Whether a grant on `object` reaches a database. */
function covers(object: string, database: string): boolean {
  const [, pattern] = /^`((?:[^`]|``)+)`\./.exec(object) ?? []
  return pattern !== undefined && database !== '' && grantCovers(pattern, database)
}
