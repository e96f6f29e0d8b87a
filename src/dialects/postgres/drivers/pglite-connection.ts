import { AsyncLocalStorage } from 'node:async_hooks'
import { currentContext } from '../../../context.ts'
import { tenancyError } from '../../../errors.ts'
import { createMutex } from '../../../util/mutex.ts'
import type { Pglite, PgliteQuery, PgliteResult, PgliteTransaction } from './pglite-types.ts'

/** SQLSTATE of every statement in a transaction that has failed. */
const FAILED_TRANSACTION = '25P02'

/** Whose a transaction is; `undefined` for the admin connection. */
export type Owner = string | undefined

/** A transaction under way. After its end it refuses: TENANCY_ERR_TRANSACTION_FINISHED. */
export interface OpenTransaction {
  readonly query: PgliteQuery
  /** Several statements without parameters in one text. */
  exec(text: string): Promise<PgliteResult[]>
  /**
   * One statement behind a text that it depends on: nothing comes between them. A transaction that has failed takes nothing
   * but a ROLLBACK, and so the statement alone.
   */
  queryAfter(lead: string, ...statement: Parameters<PgliteQuery>): Promise<PgliteResult>
  /** Runs `work` in a savepoint, undone when it throws. */
  nest<T>(work: (inner: OpenTransaction) => Promise<T>): Promise<T>
}

/** How a held transaction ends. */
export type Ending = 'commit' | 'rollback'

/** A transaction that opens at its first statement and is ended from outside. */
export interface HeldTransaction {
  /** Rejects with TENANCY_ERR_TRANSACTION_FINISHED when it is ended before its turn. */
  readonly opened: Promise<OpenTransaction>
  /** Settles when the transaction has ended: after a rollback, or what was one, with TENANCY_ERR_TRANSACTION_ROLLED_BACK. */
  end(how: Ending): Promise<void>
}

/** The one connection of an embedded database, in turns. */
export interface PgliteConnection {
  /**
   * Runs `work` in a transaction of its own that begins with `preamble`. Afterwards the session is as it was before,
   * whatever the statements did to it. It is rolled back when a nested one is still under way, half of which would stay.
   *
   * @throws TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_TRANSACTION_ROLLED_BACK, TENANCY_ERR_CLOSED
   */
  transaction<T>(owner: Owner, preamble: string, work: (open: OpenTransaction) => Promise<T>): Promise<T>
  /** Opens a transaction for the rest of the request. @throws what `transaction` throws */
  hold(owner: Owner, preamble: string): HeldTransaction
  /**
   * The open transaction of this call chain, which a call of the same owner joins. A call of another owner would wait for
   * its own caller, so it is refused at once.
   *
   * @throws TENANCY_ERR_TRANSACTION_BUSY
   */
  joinable(owner: Owner): Promise<OpenTransaction> | undefined
  readonly waiting: number
  readonly busy: boolean
  /** Waits for the transaction under way; who waits for the next is refused. Idempotent. */
  close(): Promise<void>
}

/** Options of {@link createPgliteConnection}. */
export interface PgliteConnectionOptions {
  readonly pglite: Pglite
  /** Puts the session back between two transactions; must work whatever they did to it. */
  readonly restore: string
  /** Milliseconds to wait for the connection. */
  readonly timeoutMs: number
}

interface Membership {
  readonly owner: Owner
  readonly opened: Promise<OpenTransaction>
  ended: boolean
}

/** Makes a {@link PgliteConnection}; `pglite` is used by nobody else from now on. */
export function createPgliteConnection({ pglite, restore, timeoutMs }: PgliteConnectionOptions): PgliteConnection {
  const mutex = createMutex(timeoutMs, () => tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs]))
  const inside = new AsyncLocalStorage<Membership>()
  const held = new WeakMap<object, Membership>()
  let clean = false
  let running = false
  let closing: Promise<void> | undefined

  const restoreSession = async (): Promise<void> => {
    try {
      await pglite.exec(restore)
    } catch {
      await pglite.exec('rollback')
      await pglite.exec(restore)
    }
    clean = true
  }
  const transaction: PgliteConnection['transaction'] = (owner, preamble, work) =>
    mutex.run(async () => {
      if (closing !== undefined) throw tenancyError('TENANCY_ERR_CLOSED')
      if (!clean) await restoreSession().catch(unavailable)
      clean = false
      running = true
      try {
        return await pglite.transaction(async (raw) => {
          await raw.exec(preamble)
          const queue = inTurns(raw)
          const { open, state, finish } = openTransaction(queue)
          const membership: Membership = { owner, opened: Promise.resolve(open), ended: false }
          // Before anything else is awaited: what comes in between could fail, and COMMIT would be a ROLLBACK.
          const end = () => {
            membership.ended = true
            finish()
          }
          try {
            const result = await inside.run(membership, () => work(open))
            end()
            if (state.nested > 0) throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
            if (state.unanswered > 0) await assertNotAborted(queue)
            return result
          } finally {
            end()
          }
        })
      } finally {
        // The outcome stands; if this fails, the next transaction tries again and does not begin without it.
        await restoreSession().catch(() => {})
        running = false
      }
    })
  const membershipHere = (): Membership | undefined => {
    const chain = currentContext()?.root
    const found = [inside.getStore(), chain && held.get(chain)]
    return found.find((membership) => membership?.ended === false)
  }

  return Object.freeze({
    transaction,

    hold(owner: Owner, preamble: string): HeldTransaction {
      if (membershipHere() !== undefined) throw busy()
      const { promise: opened, resolve, reject } = deferred<OpenTransaction>()
      const ending = deferred<Ending>()
      const membership: Membership = { owner, opened, ended: false }
      const chain = currentContext()?.root
      if (chain !== undefined) held.set(chain, membership)
      const done = transaction(owner, preamble, async (open) => {
        if (!membership.ended) resolve(open)
        if ((await ending.promise) === 'rollback') throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
      })
      done.then(
        () => reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')),
        (error: unknown) => {
          membership.ended = true
          reject(error)
        },
      )
      // Who held it may not have asked for it.
      opened.catch(() => {})
      return Object.freeze({
        opened,
        async end(how: Ending) {
          membership.ended = true
          ending.resolve(how)
          await done
        },
      })
    },

    joinable(owner: Owner) {
      const membership = membershipHere()
      if (membership === undefined) return undefined
      if (membership.owner === owner) return membership.opened
      throw busy()
    },

    get waiting() {
      return mutex.waiting
    },
    get busy() {
      return running
    },

    close() {
      closing ??= pglite.close()
      return closing
    },
  })
}

interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(error: unknown): void
}

function deferred<T>(): Deferred<T> {
  let settle: Omit<Deferred<T>, 'promise'> | undefined
  const promise = new Promise<T>((resolve, reject) => (settle = { resolve, reject }))
  return { promise, ...(settle as unknown as Omit<Deferred<T>, 'promise'>) }
}

/** What statements are sent on: a transaction of PGlite, or the one around a savepoint. */
type Sender = Pick<OpenTransaction, 'query' | 'exec' | 'queryAfter'>

/** One after the other, in order of arrival. PGlite has an order too, but would let others in behind a lead. */
function inTurns(raw: PgliteTransaction): Sender {
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work, work)
    last = turn
    return turn
  }
  return {
    query: (...statement) => inTurn(() => raw.query(...statement)),
    exec: (text) => inTurn(() => raw.exec(text)),
    queryAfter: (lead, ...statement) =>
      inTurn(async () => {
        await raw.exec(lead).catch(unlessFailedBefore)
        return raw.query(...statement)
      }),
  }
}

function unlessFailedBefore(error: unknown): void {
  if ((error as { code?: unknown }).code !== FAILED_TRANSACTION) throw error
}

interface Opening {
  readonly open: OpenTransaction
  /** Statements that have not succeeded: where there is none, PostgreSQL has not given up the transaction. */
  readonly state: { readonly unanswered: number; readonly nested: number }
  finish(): void
}

function openTransaction(sender: Sender): Opening {
  const state = { finished: false, unanswered: 0, nested: 0 }
  const assertOpen = () => {
    if (state.finished) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
  }
  const send = async <T>(statement: () => Promise<T>): Promise<T> => {
    assertOpen()
    state.unanswered++
    const result = await statement()
    state.unanswered--
    return result
  }
  const open: OpenTransaction = Object.freeze({
    query: (...statement: Parameters<PgliteQuery>) => send(() => sender.query(...statement)),
    exec: (text: string) => send(() => sender.exec(text)),
    queryAfter: (...led: Parameters<OpenTransaction['queryAfter']>) => send(() => sender.queryAfter(...led)),
    async nest<T>(work: (inner: OpenTransaction) => Promise<T>) {
      assertOpen()
      state.nested++
      try {
        return await inSavepoint(open, work)
      } finally {
        state.nested--
      }
    },
  })
  return { open, state, finish: () => void (state.finished = true) }
}

let savepoints = 0

async function inSavepoint<T>(outer: OpenTransaction, work: (inner: OpenTransaction) => Promise<T>): Promise<T> {
  const name = `tenancy_${++savepoints}`
  await outer.exec(`savepoint ${name}`)
  const { open, finish } = openTransaction(outer)
  try {
    const result = await work(open)
    await outer.exec(`release savepoint ${name}`)
    return result
  } catch (error) {
    // If this fails the whole transaction is lost, and its commit says so.
    await outer.exec(`rollback to savepoint ${name}`).catch(() => {})
    throw error
  } finally {
    finish()
  }
}

/** COMMIT of a failed transaction is a silent ROLLBACK; this makes it an error. */
async function assertNotAborted(queue: Sender): Promise<void> {
  try {
    await queue.exec('select 1')
  } catch (error) {
    throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK', [], error)
  }
}

function unavailable(error: unknown): never {
  throw tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE', [], error)
}

function busy(): Error {
  return tenancyError('TENANCY_ERR_TRANSACTION_BUSY', ['finish it first, or use a database server'])
}
