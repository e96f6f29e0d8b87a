import { AsyncLocalStorage } from 'node:async_hooks'
import { currentContext } from '../../../context.ts'
import { tenancyError } from '../../../errors.ts'
import { createMutex } from '../../../util/mutex.ts'
import type { Pglite, PgliteQuery, PgliteResult, PgliteTransaction } from './pglite-types.ts'

/** Whose a transaction is; `undefined` for the admin connection. */
export type Owner = string | undefined

/** A transaction under way. After its end it refuses: TENANCY_ERR_TRANSACTION_FINISHED. */
export interface OpenTransaction {
  readonly query: PgliteQuery
  /** Several statements without parameters in one text. */
  exec(text: string): Promise<PgliteResult[]>
  /** Runs `work` in a savepoint, undone when it throws. */
  nest<T>(work: (inner: OpenTransaction) => Promise<T>): Promise<T>
}

/** How a held transaction ends. */
export type Ending = 'commit' | 'rollback'

/** A transaction that opens at its first statement and is ended from outside. */
export interface HeldTransaction {
  readonly opened: Promise<OpenTransaction>
  /** Settles when the transaction has ended: after a rollback, or what was one, with TENANCY_ERR_TRANSACTION_ROLLED_BACK. */
  end(how: Ending): Promise<void>
}

/** The one connection of an embedded database, in turns. */
export interface PgliteConnection {
  /**
   * Runs `work` in a transaction of its own that begins with `preamble`. Afterwards the session is as it was before,
   * whatever the statements did to it.
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
          const { open, mayHaveFailed, finish } = openTransaction(raw)
          const membership: Membership = { owner, opened: Promise.resolve(open), ended: false }
          try {
            const result = await inside.run(membership, () => work(open))
            if (mayHaveFailed()) await assertNotAborted(raw)
            return result
          } finally {
            membership.ended = true
            finish()
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
      done.catch((error: unknown) => {
        membership.ended = true
        reject(error)
      })
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

interface Opening {
  readonly open: OpenTransaction
  /** False when every statement has succeeded: PostgreSQL has given up no such transaction. */
  mayHaveFailed(): boolean
  finish(): void
}

function openTransaction(raw: PgliteTransaction): Opening {
  let finished = false
  let notSucceeded = 0
  const send = async <T>(statement: () => Promise<T>): Promise<T> => {
    if (finished) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    notSucceeded++
    const result = await statement()
    notSucceeded--
    return result
  }
  const open: OpenTransaction = Object.freeze({
    query: (...statement: Parameters<PgliteQuery>) => send(() => raw.query(...statement)),
    exec: (text: string) => send(() => raw.exec(text)),
    async nest<T>(work: (inner: OpenTransaction) => Promise<T>) {
      if (finished) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
      return inSavepoint(open, work)
    },
  })
  return { open, mayHaveFailed: () => notSucceeded > 0, finish: () => void (finished = true) }
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
async function assertNotAborted(raw: PgliteTransaction): Promise<void> {
  try {
    await raw.exec('select 1')
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
