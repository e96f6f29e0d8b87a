import type { IsolationStrategy, TenantToPlace } from '../contracts/isolation.ts'
import { MAIN_SERVER } from '../contracts/tenant.ts'
import { tenancyError } from '../errors.ts'
import { quoteReceived } from '../util/identifier.ts'

/** Options of {@link onServers}. */
export interface OnServersOptions {
  /** The names of all servers. */
  readonly servers: ReadonlySet<string>
  /** Chooses the server of a new tenant that asks for none. Default: {@link MAIN_SERVER}. */
  readonly choose?: ((tenant: TenantToPlace) => string) | undefined
}

/**
 * The same strategy with its tenants on several servers. The choice is made at registration and stored in the placement,
 * so that a rule that changes later moves nobody.
 */
export function onServers(
  strategy: IsolationStrategy,
  { servers, choose = () => MAIN_SERVER }: OnServersOptions,
): IsolationStrategy {
  return Object.freeze({
    ...strategy,
    place(tenant) {
      const server = tenant.server ?? choose(tenant)
      // Whatever a function gave: only a name that is configured gets through.
      if (!servers.has(server)) throw tenancyError('TENANCY_ERR_SERVER_UNKNOWN', [shown(server)])
      return strategy.place({ ...tenant, server })
    },
  } satisfies IsolationStrategy)
}

/** A URL in the place of a name may hold a password. */
function shown(server: unknown): string {
  return typeof server === 'string' && /[:/@]/.test(server) ? '(not shown)' : quoteReceived(server)
}
