import { tenancyError } from '../errors.ts'
import { inTime } from '../util/in-time.ts'

/** What {@link createSharedTransaction} takes. */
export interface SharedTransactionOptions<C> {
  /** Takes a connection and begins the transaction on it. Called once, at the first use. */
  readonly begin: () => Promise<C>
  /** Ends the transaction and gives the connection back, also when that fails. */
  readonly end: (connection: C, how: 'commit' | 'rollback') => Promise<unknown>
  /** How many transactions the caller is inside of, this one included: what it sends belongs to the innermost. */
  readonly depth: () => number
  /** Longest wait for nested transactions, in milliseconds. */
  readonly timeoutMs: number
}

/** A place for one nested transaction, until it is `over`. */
export interface Nesting<C> {
  readonly connection: C
  readonly savepoint: string
  /** To be called with its savepoint: before it is over, the transaction cannot be committed. */
  begun(): void
  /** Lets what waits have its turn. May be called twice. */
  over(): void
}

/** One transaction that the statements and nested transactions of a request share. */
export interface SharedTransaction<C> {
  /** For a statement. Waits for nested transactions beside it. @throws TENANCY_ERR_TRANSACTION_FINISHED, TENANCY_ERR_POOL_TIMEOUT */
  connection(): Promise<C>
  /** For a nested transaction. Waits for those beside it. @throws TENANCY_ERR_TRANSACTION_FINISHED, TENANCY_ERR_POOL_TIMEOUT */
  nest(): Promise<Nesting<C>>
  /** Rolls back while a nested one is under way, half of which would stay. @throws TENANCY_ERR_TRANSACTION_ROLLED_BACK */
  commit(): Promise<void>
  /** Never fails: a connection that cannot roll back is not used again. */
  rollback(): Promise<void>
}

/**
 * The part of a request's transaction that is alike for all drivers: it takes a connection at the first use, and nested
 * transactions take turns. A statement beside one would be undone with it, after its caller was told that it is done.
 */
export function createSharedTransaction<C>(options: SharedTransactionOptions<C>): SharedTransaction<C> {
  const { begin, end, depth, timeoutMs } = options
  let opening: Promise<C> | undefined
  let finished = false
  let savepoints = 0
  /** Nested transactions that were let in, or wait for that, by depth: each settles when it is over. */
  const turns = new Map<number, Promise<unknown>>()
  /** What ends the turns that are not over, and which of them began. */
  const leaving = new Set<() => void>()
  const begun = new Set<() => void>()

  async function open(): Promise<C> {
    if (finished) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    opening ??= begin()
    return opening
  }

  async function finish(how: 'commit' | 'rollback'): Promise<void> {
    if (finished) return
    finished = true
    const unfinished = how === 'commit' && begun.size > 0
    // Whoever waits for a turn is refused now.
    for (const leave of leaving) leave()
    if (opening !== undefined) await end(await opening, unfinished ? 'rollback' : how)
    if (unfinished) throw tenancyError('TENANCY_ERR_TRANSACTION_ROLLED_BACK')
  }

  /** Where nested transactions of the caller take turns. Outside of the request's own context that is the transaction itself. */
  const here = () => Math.max(1, depth())

  /** Waits for the turns that were taken before: not without end, for the caller may be what one of them waits for. */
  const waited = (turn: Promise<unknown> | undefined) =>
    turn && inTime(turn, timeoutMs, () => tenancyError('TENANCY_ERR_POOL_TIMEOUT', [timeoutMs]))

  /** Takes the turn after those that were taken before, also after one that was given up by who did not want to wait. */
  function takeTurn(at: number): () => void {
    let settle = () => {}
    const own = new Promise<void>((resolve) => (settle = resolve))
    const turn = Promise.all([turns.get(at), own])
    const leave = () => {
      leaving.delete(leave)
      begun.delete(leave)
      settle()
    }
    turns.set(at, turn)
    void turn.finally(() => turns.get(at) === turn && turns.delete(at))
    leaving.add(leave)
    return leave
  }

  return Object.freeze({
    async connection() {
      await waited(turns.get(here()))
      return open()
    },
    async nest() {
      const at = here()
      const before = turns.get(at)
      const over = takeTurn(at)
      try {
        await waited(before)
        const connection = await open()
        return { connection, savepoint: `tenancy_${++savepoints}`, begun: () => void begun.add(over), over }
      } catch (error) {
        over()
        throw error
      }
    },
    commit: () => finish('commit'),
    rollback: () => finish('rollback').catch(() => {}),
  } satisfies SharedTransaction<C>)
}

/** A connection that takes its transactions as statements. */
interface Statements {
  query(text: string): unknown
  release(): void
}

/** How a transaction begins and ends where it does so by statements. */
export function byStatements<C extends Statements>(
  connect: () => Promise<C>,
): Pick<SharedTransactionOptions<C>, 'begin' | 'end'> {
  return {
    async begin() {
      const connection = await connect()
      await connection.query('begin')
      return connection
    },
    async end(connection, how) {
      try {
        await connection.query(how)
      } finally {
        connection.release()
      }
    },
  }
}
