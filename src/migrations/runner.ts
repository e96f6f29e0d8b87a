import type { DatabaseServer } from '../contracts/dialect.ts'
import type { Scope } from '../contracts/isolation.ts'
import { DdlRefusal, type Migration, type MigrationReport, type NamespaceSession } from '../contracts/migrator.ts'
import { isTenancyError, tenancyError } from '../errors.ts'

/** What a run needs. */
export interface MigrateNamespaceOptions {
  readonly server: Pick<DatabaseServer, 'inNamespace' | 'rewriteDdl'>
  /** The one place that says where the tenant's rows live: the same scope serves its requests. */
  readonly scope: Scope
  /** From `readMigrations`; hand in the same array for every tenant, its rewritten form is kept by it. */
  readonly migrations: readonly Migration[]
}

/** A migration with its statements rewritten, under their 1-based numbers in the file. */
interface PlannedMigration {
  readonly migration: Migration
  readonly statements: readonly { readonly number: number; readonly text: string }[]
}

type Rewriter = MigrateNamespaceOptions['server']

/** Rewriting reads every character: done once per server and list of migrations, not once per tenant. */
const plans = new WeakMap<Rewriter, WeakMap<readonly Migration[], readonly PlannedMigration[]>>()

/** SQLSTATE class of errors whose message quotes the offending value. */
const DATA_EXCEPTION = '22'

/**
 * Makes the namespace of a scope if it is not there, and applies the migrations that its ledger does not know, all in one
 * transaction under the namespace's lock: racing runs apply each migration once, and a failure leaves nothing behind.
 *
 * @throws TENANCY_ERR_MIGRATION_REFUSED before anything runs, TENANCY_ERR_MIGRATION_FAILED, and what the server throws
 * (TENANCY_ERR_NAMESPACE_EXISTS, TENANCY_ERR_DATABASE_UNAVAILABLE)
 */
export async function migrateNamespace({
  server,
  scope,
  migrations,
}: MigrateNamespaceOptions): Promise<MigrationReport> {
  const plan = planFor(server, migrations)
  return server.inNamespace(scope, async (session) => {
    const created = await session.ensure()
    const known = await session.applied()
    const pending = plan.filter(({ migration }) => !known.has(migration.hash))
    for (const planned of pending) await apply(session, planned)
    return Object.freeze({
      created,
      applied: Object.freeze(pending.map(({ migration }) => migration.name)),
      skipped: plan.length - pending.length,
    })
  })
}

async function apply(session: NamespaceSession, { migration, statements }: PlannedMigration): Promise<void> {
  for (const { number, text } of statements) {
    try {
      await session.run(text)
    } catch (error) {
      // A coded error says more than this one could, such as a database that cannot be reached.
      if (isTenancyError(error)) throw error
      throw tenancyError('TENANCY_ERR_MIGRATION_FAILED', [migration.file, number, reasonOf(error)], error)
    }
  }
  await session.record(migration)
}

function planFor(server: Rewriter, migrations: readonly Migration[]): readonly PlannedMigration[] {
  let ofServer = plans.get(server)
  if (ofServer === undefined) plans.set(server, (ofServer = new WeakMap()))
  let plan = ofServer.get(migrations)
  if (plan === undefined) ofServer.set(migrations, (plan = migrations.map((migration) => planOf(server, migration))))
  return plan
}

function planOf(server: Rewriter, migration: Migration): PlannedMigration {
  const statements = migration.statements
    .map((statement, index) => ({ number: index + 1, text: rewrite(server, migration, statement, index + 1) }))
    .filter(({ text }) => text !== '')
  return { migration, statements }
}

function rewrite(server: Rewriter, migration: Migration, statement: string, number: number): string {
  try {
    return server.rewriteDdl(statement)
  } catch (error) {
    if (!(error instanceof DdlRefusal)) throw error
    throw tenancyError('TENANCY_ERR_MIGRATION_REFUSED', [migration.file, number, error.message], error)
  }
}

/** The first line of the database's message, without the values that it quotes; `detail` holds rows and stays out. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const line = message.split(/[\r\n]/, 1)[0] ?? ''
  const code: unknown = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && code.startsWith(DATA_EXCEPTION) ? line.replace(/"[^"]*(?:"|$)/g, '"…"') : line
}
