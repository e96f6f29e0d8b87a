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
import { carryOut, undone } from '../../../verification/trial.ts'
import { checkBaseline } from '../baseline.ts'
import { errorNumber } from '../failure.ts'
import { type Layout, layoutOf } from '../layout.ts'
import { locked } from '../namespace-session.ts'
import { objectsOf } from '../objects.ts'
import { mysqlProfile } from '../profile.ts'
import { grantFaults, placeFaults, tieFaults } from './faults.ts'

type Query = AdminConnection['query']

/** What {@link verifyScope} needs. */
export interface ScopeTrial {
  readonly server: Pick<DatabaseServer, 'client' | 'lazyTransaction'>
  readonly scope: Scope
  /** The database of prefixed tables. */
  readonly shared: string | undefined
  /** The database of the tables that all tenants use. */
  readonly sharedSchema?: string | undefined
  readonly registrySchema: string
  readonly accounts: { readonly serving: string; readonly admin: string }
  /** One admin connection. */
  readonly administering: <T>(work: (query: Query) => Promise<T>) => Promise<T>
  /** A transaction on the serving connection, without any scope. */
  readonly unscoped: AdminConnection['transaction']
}

/** Seconds to wait for who makes, migrates or destroys the namespace. */
const LOCK_WAIT = 10

/**
 * Finds out whether the tenant of a scope is kept apart. `ok: false` means that it is not. Not to find out is an error.
 * @throws TENANCY_ERR_DATABASE_UNAVAILABLE, TENANCY_ERR_POOL_TIMEOUT, and what the database answers unexpectedly
 */
export async function verifyScope(trial: ScopeTrial): Promise<VerifyReport> {
  const { scope, shared, accounts, administering, unscoped } = trial
  const layout = layoutOf(scope, shared)
  const serving = await undone(unscoped, async (query) => ({
    breaches: await checkBaseline(query, accounts, trial.registrySchema),
    grants: (await query<Record<string, string>>('show grants')).map((row) => Object.values(row)[0] ?? ''),
    session: await sessionFaults(query),
  }))
  const canary = newCanary()
  const found = await administering((query) =>
    locked(query, scope, () => prepare(query, trial, layout, canary), LOCK_WAIT),
  )
  const catalogue = [
    check('namespace', found.place),
    check('serving account', serving.breaches),
    check('rights', grantFaults(serving.grants, layout)),
    check('session', serving.session),
  ]
  if (found.ties === undefined) return report(catalogue)
  try {
    const stranger = strangerTo(scope)
    const tried = await tryAll(namespaceAttempts(canary, mysqlProfile, true), (attempt) =>
      carryOut({ ...trial, stranger, outcomeOn, outcomeOf }, attempt),
    )
    return report([...catalogue, check('ties', found.ties), ...tried])
  } finally {
    const full = tenantName(canary, layout.naming, mysqlProfile)
    await administering((query) => query(`drop table if exists ${full}`))
  }
}

interface Prepared {
  readonly place: readonly string[]
  /** Absent where nothing was put in, because it may be somebody else's. */
  readonly ties?: readonly string[]
}

async function prepare(
  query: Query,
  { scope, sharedSchema }: ScopeTrial,
  layout: Layout,
  canary: string,
): Promise<Prepared> {
  const place = await placeFaults(query, scope, layout)
  if (place.length > 0) return { place }
  const named = (name: string) => tenantName(name, layout.naming, mysqlProfile)
  for (const { name } of await objectsOf(query, layout)) {
    const plain = name.slice(layout.naming.prefix.length)
    if (isStaleCanary(plain)) await query(`drop table if exists ${named(plain)}`)
  }
  const ties = await tieFaults(query, layout, sharedSchema)
  await query(
    // Its own name for the key: one made from the table's would be too long.
    `create table ${named(canary)} (id integer primary key, parent integer,
       constraint ${mysqlProfile.quoteName(canary)} foreign key (parent) references ${named(canary)} (id)) engine = InnoDB`,
  )
  return { place, ties }
}

/** A session without a tenant must be in no database, and read text the way we do. */
async function sessionFaults(query: Query): Promise<string[]> {
  const [session] = await query<{ name: string | null; mode: string }>(
    'select database() as name, @@session.sql_mode as mode',
  )
  const { name = null, mode = '' } = session ?? {}
  return [
    ...(name === null ? [] : [`a connection is in the database ${name}`]),
    ...(/ANSI_QUOTES|NO_BACKSLASH_ESCAPES/.test(mode) ? [`sql_mode is ${mode}`] : []),
  ]
}

/** What a tenant's client gives. */
interface Queryable {
  query(text: string): Promise<readonly [rows: unknown[] | { readonly affectedRows: number }, fields: unknown]>
}

async function outcomeOn(client: object, statements: readonly string[]): Promise<Outcome> {
  let last: Outcome = 0
  for (const text of statements) {
    const [rows] = await (client as Queryable).query(text)
    last = Array.isArray(rows) ? rows.length : rows.affectedRows
  }
  return last
}

/** How the server says that a name, a right or a key is not there; any other error says nothing about them. */
const REFUSALS: ReadonlyMap<number | undefined, Outcome> = new Map<number | undefined, Outcome>([
  ...[1046, 1049, 1146].map((number) => [number, 'not found'] as const),
  ...[1044, 1142, 1143].map((number) => [number, 'not allowed'] as const),
  [1452, 'refers to nothing'],
])

async function outcomeOf(work: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await work()
  } catch (error) {
    if (isTenancyError(error, 'TENANCY_ERR_STATEMENT_REFUSED')) return 'not allowed'
    const outcome = REFUSALS.get(errorNumber(error))
    if (outcome === undefined) throw error
    return outcome
  }
}
