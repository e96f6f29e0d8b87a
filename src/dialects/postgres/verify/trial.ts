import type { AdminConnection, DatabaseServer } from '../../../contracts/dialect.ts'
import type { Scope } from '../../../contracts/isolation.ts'
import { isTenancyError } from '../../../errors.ts'
import type { Outcome } from '../../../verification/canary.ts'
import { pass } from '../../../verification/trial.ts'

type Query = AdminConnection['query']

/** What a verification is done with. */
export type TrialServer = Pick<DatabaseServer, 'admin' | 'client' | 'lazyTransaction'>

/** Runs `work` over the serving connection of a scope, in one transaction, and undoes it. */
export async function rolledBack<T>(
  server: Pick<TrialServer, 'lazyTransaction'>,
  scope: Scope,
  work: (query: Query) => Promise<T>,
): Promise<T> {
  const transaction = server.lazyTransaction(scope, pass)
  try {
    return await work(queryOn(transaction.client))
  } finally {
    await transaction.rollback()
  }
}

/** What the results of both drivers have in common. */
interface Result {
  readonly rows: unknown[]
  readonly rowCount?: number | null
  readonly affectedRows?: number
}

/** What the clients of both drivers have in common. */
interface Queryable {
  query(text: string, parameters: readonly unknown[]): Promise<Result>
}

/** Statements on a client, by their rows. */
export function queryOn(client: object): Query {
  return async <TRow>(text: string, parameters: readonly unknown[] = []) =>
    (await (client as Queryable).query(text, parameters)).rows as TRow[]
}

/** Sends these on a client and tells what came of the last. */
export async function outcomeOn(client: object, statements: readonly string[]): Promise<Outcome> {
  return outcomeOf(async () => {
    let last: Result = { rows: [] }
    for (const text of statements) last = await (client as Queryable).query(text, [])
    return last.rows.length > 0 ? last.rows.length : (last.rowCount ?? last.affectedRows ?? 0)
  })
}

/** SQLSTATEs by which names, rights and keys refuse; any other error says nothing about them. */
const REFUSALS: Readonly<Record<string, Outcome>> = {
  '42P01': 'not found',
  '3F000': 'not found',
  '42501': 'not allowed',
  '23503': 'refers to nothing',
}

/** What came of it. Not to be able to tell is an error. */
export async function outcomeOf(work: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await work()
  } catch (error) {
    if (isTenancyError(error, 'TENANCY_ERR_STATEMENT_REFUSED')) return 'not allowed'
    const outcome = REFUSALS[String((error as { code?: unknown } | null)?.code)]
    if (outcome === undefined) throw error
    return outcome
  }
}
