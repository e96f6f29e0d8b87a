import { AsyncLocalStorage } from 'node:async_hooks'
import type { Guard, LazyTransaction } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import type { Mutex } from '../../../util/mutex.ts'
import type { ScopeSql } from '../scope-sql.ts'
import { statementKind } from '../statement-kind.ts'
import type { Pglite, PgliteQueryOptions, PgliteResult, PgliteTransaction } from './pglite-types.ts'

/** Role of every tenant statement; PGlite itself runs as superuser. */
export const PGLITE_SERVING_ROLE = 'tenancy_app'

/** The one connection, in turns. */
export interface PgliteShared {
  readonly pglite: Pglite
  readonly mutex: Mutex
  /** The transaction that the current call chain is inside of. */
  readonly current: AsyncLocalStorage<OpenTransaction>
}

/** A transaction under way. */
export interface OpenTransaction {
  /** Whose it is; `undefined` for the admin connection. */
  readonly tenantId: string | undefined
  readonly transaction: PgliteTransaction
  finished: boolean
}

/** What confines one tenant. */
export interface PgliteSession {
  readonly tenantId: string
  readonly scope: ScopeSql
  readonly guard: Guard
  readonly onStatement: ((text: string) => void) | undefined
}

type Query = (text: string, parameters?: readonly unknown[], options?: PgliteQueryOptions) => Promise<PgliteResult>

/**
 * What Drizzle takes for a PGlite: confined to one tenant. Every statement is a transaction of its own that sets role,
 * path and settings first. There is one connection: inside an open transaction the same tenant joins it, and another
 * tenant is refused, because it would wait for ever.
 */
export function pgliteTenantClient(shared: PgliteShared, session: PgliteSession): object {
  const query: Query = async (text, parameters, options) => {
    const joined = joinable(shared, session.tenantId)
    if (joined !== undefined) return statement(joined, session, text, parameters, options)
    check(session, text)
    return scoped(shared, session, (open) => statement(open, session, text, parameters, options))
  }
  const transaction = async <T>(work: (transaction: object) => Promise<T>): Promise<T> => {
    const joined = joinable(shared, session.tenantId)
    if (joined !== undefined) return inSavepoint(joined, session, work)
    session.guard()
    return scoped(shared, session, async (open) => {
      const result = await work(facade(open, session))
      await assertNotAborted(open)
      return result
    })
  }
  const exec = () => Promise.reject(tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['several statements in one text']))
  return Object.freeze({ query, transaction, exec })
}

/** One transaction for several statements of a request. While it is open the embedded database serves nobody else. */
export function pgliteLazyTransaction(shared: PgliteShared, session: PgliteSession): LazyTransaction {
  let opening: Promise<OpenTransaction> | undefined
  let ended: Promise<unknown> = Promise.resolve()
  let end: { commit(): void; rollback(reason: unknown): void } | undefined
  let finished = false

  const open = (): Promise<OpenTransaction> => {
    if (finished) return Promise.reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
    opening ??= new Promise<OpenTransaction>((resolve, reject) => {
      ended = scoped(shared, session, async (opened) => {
        const held = new Promise<void>((commit, rollback) => (end = { commit, rollback }))
        resolve(opened)
        await held
        await assertNotAborted(opened)
      })
      ended.catch(reject)
    })
    return opening
  }
  const query: Query = async (text, parameters, options) => {
    check(session, text)
    return statement(await open(), session, text, parameters, options)
  }
  const transaction = async <T>(work: (transaction: object) => Promise<T>) => inSavepoint(await open(), session, work)
  const finish = async (how: 'commit' | 'rollback'): Promise<void> => {
    if (finished) return
    finished = true
    if (opening === undefined) return
    await opening
    if (how === 'commit') end?.commit()
    else end?.rollback(tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK'))
    await ended
  }
  return Object.freeze({
    client: Object.freeze({ query, transaction }),
    commit: () => finish('commit'),
    rollback: () => finish('rollback').catch(() => {}),
  })
}

/** The open transaction that a call of this tenant joins. */
export function joinable(shared: PgliteShared, tenantId: string | undefined): OpenTransaction | undefined {
  const open = shared.current.getStore()
  if (open === undefined || open.finished) return undefined
  if (open.tenantId === tenantId) return open
  throw tenancyError('TENANCY_ERR_TRANSACTION_BUSY', ['finish it first, or use a database server'])
}

/** Runs `work` in a transaction that has the tenant's scope. */
function scoped<T>(
  shared: PgliteShared,
  { tenantId, scope }: PgliteSession,
  work: (open: OpenTransaction) => Promise<T>,
): Promise<T> {
  return shared.mutex.run(() =>
    shared.pglite.transaction(async (transaction) => {
      await transaction.query(`${scope.text}, set_config('role', '${PGLITE_SERVING_ROLE}', true)`, [...scope.values])
      const open: OpenTransaction = { tenantId, transaction, finished: false }
      try {
        return await shared.current.run(open, () => work(open))
      } finally {
        open.finished = true
      }
    }),
  )
}

async function statement(
  open: OpenTransaction,
  session: PgliteSession,
  text: string,
  parameters: readonly unknown[] | undefined,
  options: PgliteQueryOptions | undefined,
): Promise<PgliteResult> {
  if (open.finished) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
  check(session, text)
  session.onStatement?.(text)
  return open.transaction.query(text, parameters, options)
}

/** Refuses before anything is sent. All transaction control is the library's: after a raw COMMIT the scope would be gone. */
function check(session: PgliteSession, text: string): void {
  session.guard()
  const { kind } = statementKind(text)
  if (kind === 'plain' || kind === 'procedure') return
  throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['transaction control; use `transaction()`'])
}

function facade(open: OpenTransaction, session: PgliteSession): object {
  const query: Query = (text, parameters, options) => statement(open, session, text, parameters, options)
  return Object.freeze({ query, rollback: () => open.transaction.rollback() })
}

let savepoints = 0

async function inSavepoint<T>(
  open: OpenTransaction,
  session: PgliteSession,
  work: (transaction: object) => Promise<T>,
): Promise<T> {
  session.guard()
  if (open.finished) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
  const name = `tenancy_${++savepoints}`
  await open.transaction.exec(`savepoint ${name}`)
  try {
    const result = await work(facade(open, session))
    await open.transaction.exec(`release savepoint ${name}`)
    return result
  } catch (error) {
    await open.transaction.exec(`rollback to savepoint ${name}`)
    throw error
  }
}

/** COMMIT of a failed transaction is a silent ROLLBACK; this makes it an error. */
async function assertNotAborted({ transaction }: OpenTransaction): Promise<void> {
  try {
    await transaction.query('select 1')
  } catch (error) {
    throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK', [], error)
  }
}
