import type { AdminConnection, DatabaseServer } from '../contracts/dialect.ts'
import type { Scope } from '../contracts/isolation.ts'
import type { Attempt, Outcome } from './canary.ts'

type Query = AdminConnection['query']

/** Runs `work` in a transaction that is undone in any case. */
export async function undone<T>(
  transaction: AdminConnection['transaction'],
  work: (query: Query) => Promise<T>,
): Promise<T> {
  const kept: { result?: T } = {}
  const end = Symbol('undo')
  try {
    await transaction(async (query) => {
      kept.result = await work(query)
      throw end as never
    })
  } catch (error) {
    if (error !== end) throw error
  }
  return kept.result as T
}

/** Lets everything through: a verification is of no request. */
export function pass(): void {}

/** How a dialect carries out what is tried on a canary. */
export interface Trial {
  readonly server: Pick<DatabaseServer, 'client' | 'lazyTransaction'>
  /** Whose canary it is. */
  readonly scope: Scope
  /** Another tenant. */
  readonly stranger: Scope
  /** A transaction on the serving connection, without any scope. */
  readonly unscoped: AdminConnection['transaction']
  /** Sends these by the client of a tenant, and tells what came of the last. */
  outcomeOn(client: object, statements: readonly string[]): Promise<Outcome>
  /** Makes an outcome of what refuses the tenant of a scope, or nobody's statement; not to be able to tell is an error. */
  outcomeOf(work: () => Promise<Outcome>, as?: Scope): Promise<Outcome>
}

/** Tries one thing, and leaves nothing of it. */
export async function carryOut(trial: Trial, { who, statements, alone }: Attempt): Promise<Outcome> {
  const { server, scope, stranger, unscoped, outcomeOn, outcomeOf } = trial
  if (who === 'no tenant') {
    return outcomeOf(() =>
      undone(unscoped, async (query) => {
        let rows: unknown[] = []
        for (const text of statements) rows = await query(text)
        // One that is not refused is a breach, whatever it found.
        return rows.length
      }),
    )
  }
  const as = who === 'another tenant' ? stranger : scope
  if (alone) return outcomeOf(() => outcomeOn(server.client(as, pass), statements), as)
  const transaction = server.lazyTransaction(as, pass)
  try {
    return await outcomeOf(() => outcomeOn(transaction.client, statements), as)
  } finally {
    await transaction.rollback()
  }
}
