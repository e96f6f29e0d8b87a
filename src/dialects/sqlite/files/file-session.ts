import type { Guard } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import type { Door } from '../shared/read-only.ts'
import type { ReadStatement } from '../statement.ts'
import type { DatabaseFile } from './database-file.ts'
import type { Lease } from './tenant-files.ts'
import type { SqliteResult, SqliteStatement } from './connection-types.ts'

/** What confines one tenant; the admin connection has one that confines nothing. */
export interface FileSession<F extends DatabaseFile = DatabaseFile> {
  /** The namespace of the tenant; absent for the admin connection. */
  readonly namespace?: string
  /** The file of this scope: at once, unless it has to wait for room. */
  lease(): Lease<F> | Promise<Lease<F>>
  /** The same for who cannot wait: undefined when there is no room. */
  leaseNow(): Lease<F> | undefined
  /** The file itself, for one call that gives way to nobody. Undefined when there is no room. */
  fileNow(): F | undefined
  /** Reads a statement and writes the tenant's names into it. @throws TENANCY_ERR_STATEMENT_REFUSED */
  prepare(text: string): { readonly kind: ReadStatement['kind']; readonly text: string }
  readonly guard: Guard
  /** For the admin connection: lets a transaction write what tenants only read. */
  door?(): Door | undefined
  readonly onStatement: ((text: string) => void) | undefined
}

/** A statement that was handed over and may be sent. */
export interface Prepared extends SqliteStatement {
  readonly kind: ReadStatement['kind']
}

/** A statement as libsql takes it: a text, an object, or a text with its parameters. */
type Given = string | SqliteStatement | readonly [sql: string, args?: unknown]

/** `execute` and `batch` as libsql has them, over what runs statements. */
export function statementsOn(session: FileSession, run: (statements: readonly Prepared[]) => Promise<SqliteResult[]>) {
  return {
    async execute(given: Given, args?: unknown): Promise<SqliteResult> {
      const [result] = await run([handOver(session, given, args)])
      return result as SqliteResult
    },
    batch: async (given: readonly Given[]): Promise<SqliteResult[]> => run(given.map((one) => handOver(session, one))),
  }
}

/** Drizzle's own migrator would write into the tenant's namespace without its lock. */
export async function refuseMigrations(): Promise<never> {
  throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['migrations; they belong to the registration of a tenant'])
}

/** Sends statements, after a wait perhaps, and tells them to the log without their parameters. */
export function send<T>(session: FileSession, statements: readonly Prepared[], work: () => Promise<T>): Promise<T> {
  session.guard('send')
  for (const { sql } of statements) session.onStatement?.(sql)
  return work()
}

/** Checks a statement and keeps it as it is now, whatever its caller does to it while it waits. */
function handOver(session: FileSession, given: Given, more?: unknown): Prepared {
  session.guard()
  const [sql, args] = partsOf(given, more)
  if (typeof sql !== 'string') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a statement without text'])
  const { kind, text } = session.prepare(sql)
  return { kind, sql: text, args: parametersOf(args) }
}

function partsOf(given: Given, more: unknown): readonly [sql: unknown, args: unknown] {
  if (typeof given === 'string') return [given, more]
  return 'sql' in given ? [given.sql, given.args] : [given[0], given[1]]
}

/** Where a `?` gets no array, libsql does not fail but ends the process. Names are for parameters that are refused anyway. */
function parametersOf(args: unknown): readonly unknown[] {
  if (args === undefined) return []
  if (!Array.isArray(args)) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['parameters that are no array'])
  return [...(args as unknown[])]
}
