import { isTenancyError } from '../../../errors.ts'
import type { Outcome, Refusal } from '../../../verification/canary.ts'
import { errorNumber } from '../failure.ts'

/** What the driver gives for a statement. */
export interface Answer {
  readonly recordset?: readonly unknown[] | undefined
  readonly rowsAffected: readonly number[]
}

/** How many rows a statement read or changed. */
export function countOf({ recordset, rowsAffected }: Answer): number {
  return recordset?.length ?? rowsAffected.at(-1) ?? 0
}

/** How the server says that a name, a right, a row or a key is not there; any other error says nothing about them. */
const REFUSALS: ReadonlyMap<number, Refusal> = new Map<number, Refusal>([
  // No such object, or no such database.
  ...[208, 911].map((number) => [number, 'not found'] as const),
  // No right to an object, a column, a database, a statement or what it is about; a block predicate; no tenant to fill in.
  ...[229, 230, 262, 297, 515, 916, 1088, 3701, 4701, 4902, 15_151, 33_504].map(
    (number) => [number, 'not allowed'] as const,
  ),
  [547, 'refers to nothing'],
])

/** From here on numbers are those of users: SQL Server has none of its own there, and who only speaks its language may. */
const USER_NUMBERS = 50_000
/** What such a server says. */
const SAID: readonly (readonly [said: RegExp, refusal: Refusal])[] = [
  [/^invalid object name\b|\bdoes not exist\b/i, 'not found'],
  [/\bpermission( was)? denied\b|\bmust be owner of\b|\bviolates row-level security\b/i, 'not allowed'],
]

/** What came of it. Not to be able to tell is an error. */
export async function outcomeOf(work: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await work()
  } catch (error) {
    if (isTenancyError(error, 'TENANCY_ERR_STATEMENT_REFUSED')) return 'not allowed'
    const number = errorNumber(error) ?? 0
    const refusal = number < USER_NUMBERS ? REFUSALS.get(number) : refusalSaid(error)
    if (refusal === undefined) throw error
    return refusal
  }
}

function refusalSaid(error: unknown): Refusal | undefined {
  const { message = '' } = error as { readonly message?: string }
  return SAID.find(([said]) => said.test(message))?.[1]
}
