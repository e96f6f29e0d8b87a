import { AsyncLocalStorage } from 'node:async_hooks'
import { currentContext } from '../../../context.ts'
import { tenancyError } from '../../../errors.ts'
import { createMutex } from '../../../util/mutex.ts'
import type { PgliteQuery, PgliteResult } from './pglite-types.ts'
import type { Ending, Lead, PgliteWire } from './pglite-wire.ts'

/** SQLSTATE of every statement in a transaction that has failed. */
const FAILED_TRANSACTION = '25P02'

/** Whose a transaction is: a tenant's, by its id, or somebody's with other rights. */
export type Owner = string | symbol

/** A transaction under way. After its end it refuses: TENANCY_ERR_TRANSACTION_FINISHED. */
export interface OpenTransaction {
  readonly query: PgliteQuery
  /** Several statements without parameters in one text. */
  exec(text: string): Promise<readonly PgliteResult[]>
  /**
   * One statement behind a text that it depends on: nothing comes between them. A transaction that has failed takes nothing
   * but a ROLLBACK, and so the statement alone.
   */
  queryAfter(lead: string, ...statement: Parameters<PgliteQuery>): Promise<PgliteResult>
  /** Runs `work` in a savepoint, undone when it throws. */
  nest<T>(work: (inner: OpenTransaction) => Promise<T>): Promise<T>
}

/** A transaction that opens at its first statement and is ended from outside. */
export interface HeldTransaction {
  /** Rejects with TENANCY_ERR_TRANSACTION_FINISHED when it is ended before its turn. */
  readonly opened: Promise<OpenTransaction>
  /** Settles when the transaction has ended: after a rollback, or what was one, with TENANCY_ERR_TRANSACTION_ROLLED_BACK. */
  end(how: Ending): Promise<void>
}

/** The one connection of an embedded database, in turns. A `lead` is what makes the session that of whoever speaks in it. */
export interface PgliteConnection {
  /**
   * One statement, which must be none that is seen to change the session. What a function in it left there may meet the next
   * statement of the same owner and lead, and none of another.
   *
   * @param send called when its turn has come
   * @throws TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_CLOSED, TENANCY_ERR_DATABASE_UNAVAILABLE
   */
  statement(owner: Owner, lead: string, send: () => Parameters<PgliteQuery>): Promise<PgliteResult>
  /**
   * Runs `work` in a transaction of its own. Afterwards nothing is left of what its statements did to the session. It is rolled
   * back when a nested one is still under way, half of which would stay.
   *
   * @throws TENANCY_ERR_POOL_TIMEOUT, TENANCY_ERR_TRANSACTION_ROLLED_BACK, TENANCY_ERR_CLOSED, TENANCY_ERR_DATABASE_UNAVAILABLE
   */
  transaction<T>(owner: Owner, lead: string, work: (open: OpenTransaction) => Promise<T>): Promise<T>
  /** Opens a transaction for the rest of the request. @throws what `transaction` throws */
  hold(owner: Owner, lead: string): HeldTransaction
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
  readonly wire: PgliteWire
  /** Milliseconds to wait for the connection. */
  readonly timeoutMs: number
  /** Closes the database. */
  close(): Promise<void>
}

/** Leaves nothing of whoever spoke in the session before: its user, settings, cursors, prepared statements, locks. */
const FORGET = 'discard all'

interface Membership {
  readonly owner: Owner
  readonly opened: Promise<OpenTransaction>
  ended: boolean
}

/** Makes a {@link PgliteConnection}; `wire` is used by nobody else from now on. */
export function createPgliteConnection({ wire, timeoutMs, close }: PgliteConnectionOptions): PgliteConnection {
  const mutex = createMutex(timeoutMs, () => tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs]))
  const inside = new AsyncLocalStorage<Membership>()
  const held = new WeakMap<object, Membership>()
  /** Whose statement was before, if it can have left nothing that it may not. */
  let before: { readonly owner: Owner; readonly lead: string } | undefined
  /** Whether a transaction may be open that nobody is in. */
  let isOpen = false
  let turn: Promise<unknown> | undefined
  let closing: Promise<void> | undefined

  const inTurn = <T>(owner: Owner, lead: string, work: (lead: Lead) => Promise<T>): Promise<T> =>
    mutex.run(async () => {
      if (closing !== undefined) throw tenancyError('TENANCY_ERR_CLOSED')
      const isSame = before?.owner === owner && before.lead === lead
      const whole = [...(isOpen ? ['rollback'] : []), ...(isSame ? [] : [FORGET]), lead]
      before = undefined
      isOpen = true
      try {
        const done = work(whole)
        turn = done
        return await done
      } finally {
        turn = undefined
      }
    })
  const statement: PgliteConnection['statement'] = (owner, lead, send) =>
    inTurn(owner, lead, async (whole) => {
      const result = await wire.statement(whole, true, ...send())
      isOpen = false
      before = { owner, lead }
      return result
    })
  const transaction: PgliteConnection['transaction'] = (owner, lead, work) =>
    inTurn(owner, lead, async (whole) => {
      const queue = inOrder(wire)
      const { open, state, finish } = openTransaction(queue)
      const membership: Membership = { owner, opened: Promise.resolve(open), ended: false }
      // Before anything else is awaited: what comes in between would come behind the end.
      const end = () => {
        membership.ended = true
        finish()
      }
      let result
      try {
        await wire.texts([...whole, 'begin'])
        result = await inside.run(membership, () => work(open))
        end()
        if (state.nested > 0) throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
        // COMMIT of a failed transaction is a silent ROLLBACK; this makes it an error.
        if ((await queue.end('commit')) !== 'COMMIT') throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
      } catch (error) {
        end()
        await queue.end('rollback')
        isOpen = false
        throw error
      }
      isOpen = false
      return result
    })
  const membershipHere = (): Membership | undefined => {
    const chain = currentContext()?.root
    const found = [inside.getStore(), chain && held.get(chain)]
    return found.find((membership) => membership?.ended === false)
  }

  return Object.freeze({
    statement,
    transaction,

    hold(owner: Owner, lead: string): HeldTransaction {
      if (membershipHere() !== undefined) throw busy()
      const { promise: opened, resolve, reject } = deferred<OpenTransaction>()
      const ending = deferred<Ending>()
      const membership: Membership = { owner, opened, ended: false }
      const chain = currentContext()?.root
      if (chain !== undefined) held.set(chain, membership)
      const done = transaction(owner, lead, async (open) => {
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
      return turn !== undefined
    },

    close() {
      closing ??= Promise.allSettled([turn]).then(close)
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

/** What statements are sent on: the session, or the transaction around a savepoint. */
type Sender = Pick<OpenTransaction, 'query' | 'exec' | 'queryAfter'>

/** One after the other, in order of arrival: a statement is two calls, and others would come between them. */
function inOrder(wire: PgliteWire): Sender & Pick<PgliteWire, 'end'> {
  let last: Promise<unknown> = Promise.resolve()
  const inOrderOf = <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work, work)
    last = next
    return next
  }
  return {
    query: (...statement) => inOrderOf(() => wire.statement([], false, ...statement)),
    exec: (text) => inOrderOf(() => wire.texts([text])),
    queryAfter: (lead, ...statement) =>
      inOrderOf(() =>
        wire.statement([lead], false, ...statement).catch((error: unknown) => {
          if ((error as { code?: unknown }).code !== FAILED_TRANSACTION) throw error
          return wire.statement([], false, ...statement)
        }),
      ),
    end: (how) => inOrderOf(() => wire.end(how)),
  }
}

interface Opening {
  readonly open: OpenTransaction
  /** How many nested ones are under way. */
  readonly state: { readonly nested: number }
  finish(): void
}

function openTransaction(sender: Sender): Opening {
  const state = { finished: false, nested: 0 }
  const assertOpen = () => {
    if (state.finished) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
  }
  const open: OpenTransaction = Object.freeze({
    async query(...statement: Parameters<PgliteQuery>) {
      assertOpen()
      return sender.query(...statement)
    },
    async exec(text: string) {
      assertOpen()
      return sender.exec(text)
    },
    async queryAfter(...led: Parameters<OpenTransaction['queryAfter']>) {
      assertOpen()
      return sender.queryAfter(...led)
    },
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

function busy(): Error {
  return tenancyError('TENANCY_ERR_TRANSACTION_BUSY', ['finish it first, or use a database server'])
}
