import type { DatabaseServer } from './contracts/dialect.ts'
import type { SharedTenantCache } from './contracts/shared-cache.ts'
import { findTenancyError, tenancyError, type TenancyErrorCode } from './errors.ts'
import { inTime } from './util/in-time.ts'

/** Whether a dependency answers. */
export interface HealthCheck {
  readonly ok: boolean
  /** What it failed with. */
  readonly code?: TenancyErrorCode | 'UNKNOWN'
}

/** The state of everything a request may need. */
export interface Health {
  /** Whether this instance serves: `main` and the registry answer. */
  readonly ok: boolean
  /** Whether some tenants are not served, because a server beside `main` does not answer. */
  readonly degraded: boolean
  readonly checks: {
    /** The server `main`. */
    readonly database: HealthCheck
    readonly store: HealthCheck
    /** The servers beside `main`, by name. */
    readonly servers: Readonly<Record<string, HealthCheck>>
    /** Redis, where it is configured for the tenant cache. Nothing else depends on it. */
    readonly sharedCache?: Pick<HealthCheck, 'ok'>
  }
}

/**
 * How long a server beside `main` may take to answer. Packets that vanish are noticed by nobody for a quarter of an hour;
 * a readiness probe must not wait for them.
 */
const PATIENCE_MS = 2000

const silent = () => tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')

/** Something that tells whether it answers. */
type Pingable = Pick<DatabaseServer, 'ping'>

/** What {@link healthOf} asks. */
export interface Dependencies {
  /** Starts the instance if it is not running. */
  readonly start: () => Promise<void>
  readonly database: Pingable
  readonly store: Pingable
  readonly servers: ReadonlyMap<string, Pingable>
  readonly sharedCache?: Pick<SharedTenantCache, 'stats'> | undefined
}

/** Asks everything at once. Never throws. */
export async function healthOf({ start, database, store, servers, sharedCache }: Dependencies): Promise<Health> {
  const ask = async (ping: Pingable['ping']): Promise<HealthCheck> => {
    try {
      await start()
      await ping()
      return { ok: true }
    } catch (error) {
      return { ok: false, code: findTenancyError(error)?.code ?? 'UNKNOWN' }
    }
  }
  const further = [...servers].map(
    async ([name, server]) => [name, await ask(() => inTime(server.ping(), PATIENCE_MS, silent))] as const,
  )
  const [main, registry, ...others] = await Promise.all([ask(database.ping), ask(store.ping), ...further])
  return {
    ok: main.ok && registry.ok,
    degraded: others.some(([, { ok }]) => !ok),
    checks: {
      database: main,
      store: registry,
      servers: Object.fromEntries(others),
      ...(sharedCache && { sharedCache: { ok: sharedCache.stats().state === 'on' } }),
    },
  }
}
