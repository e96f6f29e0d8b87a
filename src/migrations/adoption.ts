import type { Adoption, Migration, NamespaceSession } from '../contracts/migrator.ts'
import { tenancyError } from '../errors.ts'
import { closest } from '../util/env.ts'
import { quoteReceived } from '../util/identifier.ts'
import { hashesOf } from './remaining.ts'

/**
 * Makes what exists the namespace of a session.
 * @returns the migrations that are in it already, to be written into its ledger
 * @throws TENANCY_ERR_ADOPTION_REFUSED, TENANCY_ERR_TENANT_NOT_FOUND when its registration was given up
 */
export async function adoptNamespace(
  session: NamespaceSession,
  adoption: Adoption,
  migrations: readonly Migration[],
): Promise<readonly Migration[]> {
  const refuse = (reason: string) => tenancyError('TENANCY_ERR_ADOPTION_REFUSED', [adoption.namespace, reason])
  if (session.adoption === undefined) throw refuse('what exists cannot be adopted in this database')
  const journal = await session.adoption.adopt(adoption.namespace)
  if (journal === 'before') return []
  if (journal === undefined) return upTo(adoption.baseline, migrations, refuse)
  if (adoption.baseline !== undefined) throw refuse("Drizzle's journal is in it; leave `baseline` out")
  const known = migrations.slice(0, journal.length)
  const done = new Set(journal)
  // The folder must be its whole history: what is missing would never run, or run twice.
  if (done.size !== known.length || known.some((migration) => !hashesOf(migration).some((hash) => done.has(hash)))) {
    throw refuse("Drizzle's journal in it has other migrations than the first of the folder `migrations`")
  }
  return known
}

/** Without a journal the caller says which migration was the last. */
function upTo(
  baseline: string | undefined,
  migrations: readonly Migration[],
  refuse: (reason: string) => Error,
): readonly Migration[] {
  const names = migrations.map(({ name }) => name)
  if (baseline === undefined) {
    if (migrations.length === 0) return []
    throw refuse("Drizzle's journal is not in it; say with `baseline` which migration was the last")
  }
  const last = names.indexOf(baseline)
  if (last >= 0) return migrations.slice(0, last + 1)
  const meant = closest(baseline, names)
  const hint = meant === undefined ? 'it must be the name of one in the folder `migrations`' : `did you mean ${meant}?`
  throw refuse(`\`baseline\` is ${quoteReceived(baseline)}; ${hint}`)
}
