import type { AdminConnection, DatabaseServer } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { VerifyReport } from '../../../contracts/verification.ts'
import { isTenancyError } from '../../../errors.ts'
import { tenantName } from '../../../sql/scoped-text.ts'
import {
  isStaleCanary,
  namespaceAttempts,
  newCanary,
  type Outcome,
  strangerTo,
  tryAll,
} from '../../../verification/canary.ts'
import { check, report } from '../../../verification/report.ts'
import { carryOut } from '../../../verification/trial.ts'
import { textScoped } from '../capabilities.ts'
import { refusalOf } from '../failure.ts'
import { type Layout, layoutOf } from '../layout.ts'
import { isOwn, type NamespaceTransaction, objectsOf } from '../namespace-session.ts'
import { sqliteProfile } from '../profile.ts'

/** What {@link verifyScope} needs. */
export interface ScopeTrial {
  readonly server: Pick<DatabaseServer, 'client' | 'lazyTransaction'>
  /** Sends these by a client of that server, and tells what came of the last. */
  outcomeOn(client: object, statements: readonly string[]): Promise<Outcome>
  readonly scope: Scope
  /** What begins the names of tables that all tenants use: they may be referred to, and may not refer to a tenant's. */
  readonly sharedPrefix?: string | undefined
  /** A transaction on the file of a scope, which is never made: undefined when it is not there. */
  readonly inside: <T>(scope: Scope, work: (transaction: NamespaceTransaction) => Promise<T>) => Promise<T | undefined>
  /** A transaction on the main file, without any scope. */
  readonly unscoped: AdminConnection['transaction']
}

/**
 * Finds out whether the tenant of a scope is kept apart. `ok: false` means that it is not. Not to find out is an error.
 * @throws TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_POOL_TIMEOUT, and what SQLite answers unexpectedly
 */
export async function verifyScope(trial: ScopeTrial): Promise<VerifyReport> {
  const { scope, inside } = trial
  const layout = layoutOf(scope)
  const canary = newCanary()
  const found = await inside(scope, (transaction) => prepare(transaction, trial, layout, canary)).catch(takenFor)
  const place = found?.place ?? ['its file does not exist']
  if (place.length > 0) return report([check('namespace', place)])
  try {
    const written = textScoped.has(scope.strategy)
    const stranger = strangerTo(scope)
    const tried = await tryAll(namespaceAttempts(canary, sqliteProfile, written), (attempt) =>
      carryOut({ ...trial, stranger, outcomeOf: (work, as) => outcomeOf(work, as && isAbsent(trial, as)) }, attempt),
    )
    return report([check('namespace', place), check('ties', found?.ties ?? []), ...tried])
  } finally {
    const full = tenantName(canary, layout.naming, sqliteProfile)
    await inside(scope, ({ run: execute }) => execute(`drop table if exists ${full}`))
  }
}

interface Prepared {
  readonly place: readonly string[]
  readonly ties?: readonly string[]
}

function takenFor(error: unknown): Prepared {
  if (!isTenancyError(error, 'TENANCY_ERR_NAMESPACE_EXISTS')) throw error
  return { place: ['what is in its place was not made for this tenant'] }
}

async function prepare(
  { query, run: execute }: NamespaceTransaction,
  { scope, sharedPrefix }: ScopeTrial,
  layout: Layout,
  canary: string,
): Promise<Prepared> {
  if (!(await isOwn(query, scope, layout))) return { place: ['there is no ledger of migrations'] }
  const { prefix } = layout.naming
  const named = (name: string) => tenantName(name, layout.naming, sqliteProfile)
  for (const { name } of await objectsOf(query, layout)) {
    const plain = name.slice(prefix.length)
    if (isStaleCanary(plain)) await execute(`drop table if exists ${named(plain)}`)
  }
  const keys = await query<{ child: string; parent: string }>(
    `select m.name as child, k."table" as parent from sqlite_schema m, pragma_foreign_key_list(m.name) k where m.type = 'table'`,
  )
  const isOurs = (table: string) => table.toLowerCase().startsWith(prefix)
  const isShared = (table: string) => sharedPrefix !== undefined && table.toLowerCase().startsWith(sharedPrefix)
  await execute(
    `create table ${named(canary)} (id integer primary key, parent integer references ${named(canary)} (id))`,
  )
  return {
    place: [],
    ties: keys
      .filter(({ child, parent }) => isOurs(child) !== isOurs(parent) && !(isOurs(child) && isShared(parent)))
      .map(({ child }) => `a foreign key of ${child} ties a table of this tenant to one that is not its own`),
  }
}

/** A tenant that does not exist has no file, and what it tries must not make one. */
function isAbsent({ inside }: ScopeTrial, scope: Scope) {
  return async () => (await inside(scope, async () => true)) === undefined
}

async function outcomeOf(work: () => Promise<Outcome>, absent?: () => Promise<boolean>): Promise<Outcome> {
  try {
    return await work()
  } catch (error) {
    if (isTenancyError(error, 'TENANCY_ERR_STATEMENT_REFUSED')) return 'not allowed'
    if (isTenancyError(error, 'TENANCY_ERR_DATABASE_UNAVAILABLE') && (await absent?.())) return 'not found'
    const outcome = refusalOf(error)
    if (outcome === undefined) throw error
    return outcome
  }
}
