import type { AdminConnection } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import type { Check, VerifyReport } from '../../../contracts/verification.ts'
import { tenantName } from '../../../sql/scoped-text.ts'
import {
  isStaleCanary,
  namespaceAttempts,
  newCanary,
  type Outcome,
  strangerTo,
  tryAll,
  wallAttempts,
} from '../../../verification/canary.ts'
import { check, report } from '../../../verification/report.ts'
import { carryOut, pass, undone } from '../../../verification/trial.ts'
import { checkBaseline } from '../baseline.ts'
import { type Layout, layoutOf, type LayoutOptions } from '../layout.ts'
import { lockNamespace } from '../namespace-session.ts'
import { postgresProfile } from '../profile.ts'
import { type Faults, placeFaults, rightsFaults, tieFaults } from './namespace-faults.ts'
import { outcomeOf, outcomeOn, queryOn, rolledBack, type TrialServer } from './trial.ts'

type Query = AdminConnection['query']

/** What {@link verifyNamespace} needs besides the server. */
export interface NamespaceTrial {
  readonly server: TrialServer
  readonly scope: Scope
  readonly shared: LayoutOptions
  /** Admin transactions in the database that holds the namespace. */
  readonly inside: AdminConnection['transaction']
  /** The serving connection without any scope. */
  readonly unscoped: AdminConnection['transaction']
}

/** How long to wait for who makes, migrates or destroys the namespace. */
const LOCK_TIMEOUT = `set local lock_timeout = '10s'`

/**
 * Finds out whether a tenant with a namespace of its own is kept apart: what the catalogue says of the namespace and of the
 * serving role's rights in it, and what happens when its own tenant, another one and nobody try to reach a table in it. That
 * table, the canary, is made for this time and never has a row that is committed.
 */
export async function verifyNamespace(trial: NamespaceTrial): Promise<VerifyReport> {
  const { server, scope, shared, inside } = trial
  const layout = layoutOf(scope, shared)
  const adminRole = await inside(currentRole)
  const { role, bypasses } = await rolledBack(server, scope, (query) =>
    // Only what makes the role another one is looked at here.
    checkBaseline(query, { ...shared, rlsSchema: '', registrySchema: '', adminRole }),
  )
  const canary = newCanary()
  const found = await inside(async (query) => {
    await query(LOCK_TIMEOUT)
    await lockNamespace(query, scope, layout)
    const place = await placeFaults(query, scope, layout)
    // Nothing is put into what may be somebody else's.
    if (Object.values(place).some((faults) => faults.length > 0)) return { place }
    const { faults, missing } = await rightsFaults(query, layout, role)
    const ties = await tieFaults(query, layout, shared.extensionsSchema)
    await makeCanary(query, layout, canary)
    return { place, faults: { ...faults, ties }, missing }
  })
  const catalogue = checksOf({ ...found.place, 'serving role': bypasses, ...found.faults })
  if (found.missing === undefined) return report(catalogue)
  try {
    const sent = check('scope', await scopeFaults(trial, layout))
    // A database that is not there is not asked for: a pooler would keep on trying. What counts is where a statement is.
    const attempts = namespaceAttempts(canary, postgresProfile, layout.written).filter(
      ({ who }) => who !== 'another tenant' || scope.strategy !== 'database',
    )
    const wall = layout.role === undefined ? [] : wallAttempts(tenantName(canary, layout.naming, postgresProfile))
    const stranger = strangerTo(scope)
    const tried = await tryAll([...attempts, ...wall], (attempt) =>
      carryOut({ ...trial, stranger, outcomeOn, outcomeOf: outcomeFor(stranger) }, attempt),
    )
    return report([...catalogue, sent, ...tried], found.missing)
  } finally {
    await inside((query) => query(`drop table if exists ${tenantName(canary, layout.naming, postgresProfile)}`))
  }
}

function checksOf(faults: Faults): Check[] {
  return Object.entries(faults).map(([name, list]) => check(name, list))
}

async function currentRole(query: Query): Promise<string> {
  const [row] = await query<{ role: string }>('select current_user::text as role')
  return row?.role ?? ''
}

async function makeCanary(query: Query, layout: Layout, canary: string): Promise<void> {
  const named = (name: string) => tenantName(name, layout.naming, postgresProfile)
  const left = await query<{ name: string }>(
    `select c.relname::text as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind = 'r' and pg_catalog.starts_with(c.relname::text, $2)`,
    [layout.schema, layout.naming.prefix],
  )
  for (const { name } of left) {
    const plain = name.slice(layout.naming.prefix.length)
    if (isStaleCanary(plain)) await query(`drop table if exists ${named(plain)}`)
  }
  await query(`create table ${named(canary)} (id integer primary key, parent integer references ${named(canary)})`)
}

/** A statement of its own and one in a transaction must be in the tenant's place, and what comes after in nobody's. */
async function scopeFaults(
  { server, scope, shared, unscoped, inside }: NamespaceTrial,
  layout: Layout,
): Promise<string[]> {
  const database = (await inside(placeOf)).database
  const expected = { database, path: layout.searchPath.join(', ') }
  const places = {
    'a statement': [await placeOf(queryOn(server.client(scope, pass))), expected],
    'a transaction': [await rolledBack(server, scope, placeOf), expected],
    'what has no tenant': [nobodys(await undone(unscoped, placeOf), layout, shared), { database, path: '' }],
  } as const
  return Object.entries(places).flatMap(([what, [found, wanted]]) => [
    ...(found.database === wanted.database ? [] : [`${what} is in the database ${found.database}`]),
    ...(found.path === wanted.path ? [] : [`${what} has the path ${found.path || 'of nobody'}`]),
  ])
}

interface Where {
  readonly database: string
  readonly path: string
}

/** Where names are written out, connections begin with the path that all share, and no tenant is on it. */
function nobodys(found: Where, layout: Layout, { schemaScoping }: LayoutOptions): Where {
  const shared = schemaScoping === 'qualified' && found.path === layout.searchPath.join(', ')
  return shared ? { ...found, path: '' } : found
}

async function placeOf(query: Query): Promise<Where> {
  const [found] = await query<{ database: string; path: string }>(
    `select pg_catalog.current_database()::text as database, pg_catalog.current_setting('search_path') as path`,
  )
  // PostgreSQL writes quotes only where they are needed, or as it was told.
  return { database: found?.database ?? '', path: (found?.path ?? '').replaceAll('"', '').replace(/,\s*/g, ', ') }
}

function outcomeFor(stranger: Scope) {
  return (work: () => Promise<Outcome>, as?: Scope): Promise<Outcome> =>
    outcomeOf(work).catch((error: unknown) => {
      if (as !== stranger || !isNoRole(error)) throw error
      return 'not found' as const
    })
}

/** Where each tenant has a role, one that does not exist cannot become its own: nothing of it is run. */
function isNoRole(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === '22023'
}
