import type { DatabaseServer } from '../contracts/dialect.ts'
import type { Scope } from '../contracts/isolation.ts'
import {
  type Adoption,
  DdlRefusal,
  type DdlTemplate,
  type Migration,
  type MigrationReport,
  type NamespaceSession,
} from '../contracts/migrator.ts'
import { isTenancyError, tenancyError } from '../errors.ts'
import { adoptNamespace } from './adoption.ts'
import { compareWith, progressOf, type Remaining } from './remaining.ts'

/** What a run needs. */
export interface MigrateNamespaceOptions {
  readonly server: Pick<DatabaseServer, 'inNamespace' | 'parseDdl'>
  /** The one place that says where the tenant's rows live: the same scope serves its requests. */
  readonly scope: Scope
  /** From `readMigrations`; hand in the same array for every tenant, its rewritten form is kept by it. */
  readonly migrations: readonly Migration[]
  /** What exists and is to become the namespace. */
  readonly adopt?: Adoption | undefined
}

/** A migration with its statements read. */
interface ParsedMigration {
  readonly migration: Migration
  readonly statements: readonly DdlTemplate[]
}

/** A migration with its statements written for one namespace; an empty one is not run. */
interface PlannedMigration {
  readonly migration: Migration
  readonly statements: readonly string[]
}

interface PendingMigration extends PlannedMigration {
  readonly remaining: Remaining
}

type Parser = MigrateNamespaceOptions['server']

/** Reading takes every character: done once per server and list of migrations, not once per tenant. */
const parsed = new WeakMap<Parser, WeakMap<readonly Migration[], readonly ParsedMigration[]>>()

/** SQLSTATE class of errors whose message quotes the offending value. */
const DATA_EXCEPTION = '22'

/**
 * Makes the namespace of a scope if it is not there, and applies the migrations that its ledger does not know, under the
 * namespace's lock: racing runs apply each statement once. Where DDL is transactional a failure leaves nothing behind;
 * elsewhere the ledger says which statements ran, and the next run goes on after them.
 *
 * @throws TENANCY_ERR_ADOPTION_REFUSED, TENANCY_ERR_MIGRATION_REFUSED and TENANCY_ERR_MIGRATION_CHANGED before anything runs, TENANCY_ERR_MIGRATION_FAILED, and what the server throws
 * (TENANCY_ERR_NAMESPACE_EXISTS, TENANCY_ERR_DATABASE_UNAVAILABLE)
 */
export async function migrateNamespace({
  server,
  scope,
  migrations,
  adopt,
}: MigrateNamespaceOptions): Promise<MigrationReport> {
  const plan = parse(server, migrations).map((migration) => write(migration, scope))
  return server.inNamespace(scope, async (session) => {
    const done = adopt === undefined ? [] : await adoptNamespace(session, adopt, migrations)
    const created = await session.ensure()
    for (const migration of done) await session.record(migration)
    const remainingOf = compareWith(await session.applied(), migrations)
    // All of them before the first runs.
    const pending = plan.flatMap((planned) => {
      const remaining = remainingOf(planned.migration)
      return remaining === undefined ? [] : [{ ...planned, remaining }]
    })
    for (const one of pending) await apply(session, one)
    await session.seal()
    return Object.freeze({
      created,
      applied: Object.freeze(pending.map(({ migration }) => migration.name)),
      skipped: plan.length - pending.length,
    })
  })
}

async function apply(session: NamespaceSession, { migration, statements, remaining }: PendingMigration): Promise<void> {
  const { done, entry } = remaining
  if (entry !== undefined) {
    if (entry.hash !== migration.hash) await session.replace?.(entry.hash, migration)
    if (entry.progress?.hash === null) await session.record(migration, progressOf(migration, done))
  }
  const step = async (index: number, text: string): Promise<void> => {
    try {
      await session.run(text)
    } catch (error) {
      // A coded error says more than this one could, such as a database that cannot be reached.
      if (isTenancyError(error)) throw error
      throw tenancyError('TENANCY_ERR_MIGRATION_FAILED', [migration.file, index + 1, reasonOf(error)], error)
    }
    if (!session.transactional) await session.record(migration, progressOf(migration, index + 1))
  }
  const together = session.together ?? ((work) => work())
  for (const [index, text] of statements.entries()) {
    if (index >= done && text !== '') await together(() => step(index, text))
  }
  await session.record(migration)
}

function parse(server: Parser, migrations: readonly Migration[]): readonly ParsedMigration[] {
  let ofServer = parsed.get(server)
  if (ofServer === undefined) parsed.set(server, (ofServer = new WeakMap()))
  let all = ofServer.get(migrations)
  if (all === undefined) {
    all = migrations.map((migration) => ({
      migration,
      statements: migration.statements.map((text, index) => refusing(migration, index, () => server.parseDdl(text))),
    }))
    ofServer.set(migrations, all)
  }
  return all
}

function write({ migration, statements }: ParsedMigration, scope: Scope): PlannedMigration {
  const write = (template: DdlTemplate, index: number) => refusing(migration, index, () => template.render(scope))
  return { migration, statements: statements.map(write) }
}

/** Adds file and statement to a refusal. */
function refusing<T>(migration: Migration, index: number, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof DdlRefusal)) throw error
    throw tenancyError('TENANCY_ERR_MIGRATION_REFUSED', [migration.file, index + 1, error.message], error)
  }
}

/** The first line of the database's message, without the values that it quotes; `detail` holds rows and stays out. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const line = message.split(/[\r\n]/, 1)[0] ?? ''
  const code: unknown = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && code.startsWith(DATA_EXCEPTION) ? line.replace(/"[^"]*(?:"|$)/g, '"…"') : line
}
