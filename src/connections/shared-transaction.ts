import { tenancyError } from '../errors.ts'

/** What {@link createSharedTransaction} takes. */
export interface SharedTransactionOptions<C> {
  /** Takes a connection and begins the transaction on it. Called once, at the first use. */
  readonly begin: () => Promise<C>
  /** Ends the transaction and gives the connection back, also when that fails. */
  readonly end: (connection: C, how: 'commit' | 'rollback') => Promise<unknown>
  /** How many transactions the caller is inside of, this one included: what it sends belongs to the innermost. */
  readonly depth: () => number
}

/** A place for one nested transaction, until it is `over`. */
export interface Nesting<C> {
  readonly connection: C
  readonly savepoint: string
  /** Lets what waits have its turn. May be called twice. */
  over(): void
}

/** One transaction that the statements and nested transactions of a request share. */
export interface SharedTransaction<C> {
  /** For a statement. Waits for nested transactions beside it. @throws TENANCY_ERR_TRANSACTION_FINISHED */
  connection(): Promise<C>
  /** For a nested transaction. Waits for those beside it. @throws TENANCY_ERR_TRANSACTION_FINISHED */
  nest(): Promise<Nesting<C>>
  commit(): Promise<void>
  /** Never fails: a connection that cannot roll back is not used again. */
  rollback(): Promise<void>
}

/**
 * The part of a request's transaction that is alike for all drivers: it takes a connection at the first use, and nested
 * transactions take turns. A statement beside one would be undone with it, after its caller was told that it is done.
 */
export function createSharedTransaction<C>({ begin, end, depth }: SharedTransactionOptions<C>): SharedTransaction<C> {
  let opening: Promise<C> | undefined
  let finished = false
  let savepoints = 0
  /** By depth: settles when the nested transactions that were begun there are over. */
  const turns: Promise<void>[] = []
  const waiting = new Set<() => void>()

  async function open(): Promise<C> {
    if (finished) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    opening ??= begin()
    return opening
  }

  async function finish(how: 'commit' | 'rollback'): Promise<void> {
    if (finished) return
    finished = true
    // Whoever waits for a turn is refused now.
    for (const over of waiting) over()
    if (opening !== undefined) await end(await opening, how)
  }

  /** Takes the next turn at this depth. */
  function takeTurn(at: number): () => void {
    let over = () => {}
    turns[at] = new Promise((resolve) => {
      over = () => {
        waiting.delete(over)
        resolve()
      }
    })
    waiting.add(over)
    return over
  }

  // Outside of the request's own context there is no depth: that is where the transaction itself is.
  const here = () => Math.max(1, depth())

  return Object.freeze({
    async connection() {
      await turns[here()]
      return open()
    },
    async nest() {
      const at = here()
      const before = turns[at]
      const over = takeTurn(at)
      try {
        await before
        return { connection: await open(), savepoint: `tenancy_${++savepoints}`, over }
      } catch (error) {
        over()
        throw error
      }
    },
    commit: () => finish('commit'),
    rollback: () => finish('rollback').catch(() => {}),
  } satisfies SharedTransaction<C>)
}
