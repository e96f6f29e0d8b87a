import type { StrategyName } from '../contracts/tenant.ts'
import type { CellPromise } from '../contracts/verification.ts'

/** What every strategy promises, on every database that carries it. docs/isolation.md says the same; a test compares. */
const guarded: Readonly<Record<StrategyName, string>> = {
  schema: 'the search path, sent with every statement; where there is none, names written into every statement',
  rls: 'row policies that the database checks; the tenant is sent with every statement',
  database: 'the connection to a database or file of its own',
  prefix: 'names written into every statement',
}

/** The promise of each strategy. */
export const promises: Readonly<Record<StrategyName, CellPromise>> = Object.freeze(
  Object.fromEntries(
    Object.entries(guarded).map(([strategy, by]) => [strategy, Object.freeze({ strategy, level: 'guarded', by })]),
  ) as Record<StrategyName, CellPromise>,
)
