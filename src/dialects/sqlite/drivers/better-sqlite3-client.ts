import { tenancyError } from '../../../errors.ts'
import { refuseAsynchronous } from '../../../util/synchronous.ts'
import type { FileSession, Prepared } from '../files/file-session.ts'
import type { BetterDatabase, BetterStatement, RunResult } from './better-sqlite3-types.ts'
import type { SyncFile } from './better-sqlite3-file.ts'

export type SyncSession = FileSession<SyncFile>

/** A statement as Drizzle uses one of better-sqlite3. There is no iterator: half read, it would keep the connection of all. */
export interface SyncStatement {
  run(...parameters: readonly unknown[]): RunResult
  get(...parameters: readonly unknown[]): unknown
  all(...parameters: readonly unknown[]): unknown[]
  /** The same with rows as arrays. */
  raw(): SyncStatement
}

/** A transaction of better-sqlite3, by how it begins: here each has the writer from its beginning. */
export interface SyncTransaction {
  (...given: readonly unknown[]): unknown
  readonly deferred: SyncTransaction
  readonly immediate: SyncTransaction
  readonly exclusive: SyncTransaction
}

/** What Drizzle takes for a database of better-sqlite3. */
export interface SyncClient {
  prepare(text: unknown): SyncStatement
  transaction(work: (...given: readonly unknown[]) => unknown): SyncTransaction
}

/**
 * What Drizzle takes for a database of better-sqlite3: confined to one tenant for ever. Nothing of the real database, and no statement of
 * it, can be reached.
 */
export function syncClient(session: SyncSession): SyncClient {
  return Object.freeze({
    prepare(text: unknown) {
      session.guard()
      if (typeof text !== 'string') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a statement without text'])
      const { kind, text: sql } = session.prepare(text)
      return new TenantStatement({ session, kind, sql, compiled: {} }, false)
    },
    transaction(work: (...given: readonly unknown[]) => unknown) {
      session.guard()
      if (typeof work !== 'function') {
        throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a transaction without a function'])
      }
      const begin = (...given: readonly unknown[]) => inTransaction(session, () => work(...given))
      // Each has the others, as those of the library.
      return Object.freeze(
        Object.assign(begin, { deferred: begin, immediate: begin, exclusive: begin }),
      ) as SyncTransaction
    },
  })
}

/** Runs `work` in a transaction of the session's file. @throws TENANCY_ERR_STATEMENT_REFUSED for work that awaits */
export function inTransaction<T>(session: SyncSession, work: () => T): T {
  session.guard()
  return leased(session, (file) =>
    file.transactionNow(
      { owner: session.namespace, mayCommit: () => session.guard('send'), door: session.door?.() },
      () => refuseAsynchronous(work()),
    ),
  )
}

function leased<T>(session: SyncSession, work: (file: SyncFile) => T): T {
  const lease = session.leaseNow()
  if (lease === undefined) throw tenancyError('TENANCY_ERR_POOL_TIMEOUT', [0])
  try {
    return work(lease.file)
  } finally {
    lease.release()
  }
}

/** What one text was compiled to, for the connection that it was last used on. */
interface Compiled {
  database?: BetterDatabase
  statement?: BetterStatement
}

/** What all forms of one statement have in common. */
interface Source extends Pick<Prepared, 'kind' | 'sql'> {
  readonly session: SyncSession
  readonly compiled: Compiled
}

/** A statement of a tenant; what it holds is private. */
class TenantStatement implements SyncStatement {
  readonly #source: Source
  readonly #asArrays: boolean

  constructor(source: Source, asArrays: boolean) {
    this.#source = source
    this.#asArrays = asArrays
    Object.freeze(this)
  }

  run(...parameters: readonly unknown[]): RunResult {
    return this.#use(parameters, (statement) => statement.run(...parameters))
  }

  get(...parameters: readonly unknown[]): unknown {
    return this.#use(parameters, (statement) => statement.get(...parameters))
  }

  all(...parameters: readonly unknown[]): unknown[] {
    return this.#use(parameters, (statement) => statement.all(...parameters))
  }

  raw(): SyncStatement {
    return new TenantStatement(this.#source, true)
  }

  #use<T>(parameters: readonly unknown[], work: (statement: BetterStatement) => T): T {
    const { session, kind } = this.#source
    // At each use: it may have been prepared elsewhere.
    session.guard()
    assertPlain(parameters)
    // No lease: nobody else comes in before the call returns.
    const file = session.fileNow()
    if (file === undefined) throw tenancyError('TENANCY_ERR_POOL_TIMEOUT', [0])
    const onThis = (database: BetterDatabase) => work(this.#compiledFor(database))
    return kind === 'read' ? file.readNow(session.namespace, onThis) : written(session, { file, kind }, onThis)
  }

  #compiledFor(database: BetterDatabase): BetterStatement {
    const { session, sql, compiled } = this.#source
    if (compiled.statement === undefined || compiled.database !== database) {
      compiled.statement = database.prepare(sql)
      compiled.database = database
    }
    session.onStatement?.(sql)
    if (this.#asArrays || compiled.statement.reader) compiled.statement.raw(this.#asArrays)
    return compiled.statement
  }
}
// Nobody changes what the statements of others do.
for (const one of [TenantStatement, TenantStatement.prototype]) Object.freeze(one)

/** Of an object the library reads the members, which may be functions: no code of others runs inside a statement. */
function assertPlain(parameters: readonly unknown[]): void {
  for (const one of parameters) {
    if (typeof one !== 'object' || one === null || ArrayBuffer.isView(one)) continue
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a parameter that is an object'])
  }
}

/** How a statement that writes is sent, and where to. */
interface Sending {
  readonly file: SyncFile
  readonly kind: Prepared['kind']
}

function written<T>(session: SyncSession, { file, kind }: Sending, work: (database: BetterDatabase) => T): T {
  const { namespace: owner } = session
  if (file.isInside(owner)) return file.writeNow(owner, work)
  if (kind === 'savepoint') {
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a savepoint outside of a transaction'])
  }
  // What the admin sends may be anything, and nothing of it may stay open.
  return owner === undefined ? inTransaction(session, () => file.writeNow(owner, work)) : file.writeNow(owner, work)
}
