import type { StrategyName } from '../contracts/tenant.ts'
import type { CellPromise } from '../contracts/verification.ts'

/** What every strategy promises, on every database that carries it. docs/isolation.md says the same; a test compares. */
const guarded: Readonly<Record<StrategyName, string>> = {
  schema: 'the search path, sent with every statement; where there is none, names written into every statement',
  rls: 'row policies that the database checks; the tenant is sent with every statement',
  database: 'the connection to a database or file of its own',
  prefix: 'names written into every statement',
}

/** The promise of each of these strategies. `tenantRoles`: each tenant under `schema` has a role of its own. */
export function promisesOf(
  strategies: readonly StrategyName[],
  { tenantRoles = false }: { readonly tenantRoles?: boolean | undefined } = {},
): readonly CellPromise[] {
  return strategies.map((strategy) => {
    const walled = strategy === 'schema' && tenantRoles
    const by = walled
      ? `${guarded[strategy]}; the server’s rights: each statement runs as the tenant’s role`
      : guarded[strategy]
    return Object.freeze({ strategy, level: walled ? 'walled' : 'guarded', by })
  })
}
