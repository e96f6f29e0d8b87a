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

/** How long each may take to answer: a readiness probe must not wait for packets that vanish. */
const PATIENCE_MS = 2000
/** Without an answer for so long it is asked anew, on another connection. */
const ASK_ANEW_MS = 10_000

/** Something that tells whether it answers. */
type Pingable = Pick<DatabaseServer, 'ping'>

/** What {@link createHealth} asks. */
export interface Dependencies {
  /** Starts the instance if it is not running. */
  readonly start: () => Promise<void>
  readonly database: Pingable
  readonly store: Pingable
  readonly servers: ReadonlyMap<string, Pingable>
  readonly sharedCache?: Pick<SharedTenantCache, 'stats'> | undefined
}

/** Makes the function that asks everything at once, and never throws. */
export function createHealth({ start, database, store, servers, sharedCache }: Dependencies): () => Promise<Health> {
  const check = (dependency: Pingable, silent: TenancyErrorCode): (() => Promise<HealthCheck>) => {
    const ask = createProbe(dependency, silent)
    return async () => {
      try {
        await inTime(start(), PATIENCE_MS, () => tenancyError(silent))
        await ask()
        return { ok: true }
      } catch (error) {
        return { ok: false, code: findTenancyError(error)?.code ?? 'UNKNOWN' }
      }
    }
  }
  const main = check(database, 'TENANCY_ERR_DATABASE_UNAVAILABLE')
  const registry = check(store, 'TENANCY_ERR_STORE_UNAVAILABLE')
  const further = [...servers].map(
    ([name, server]) => [name, check(server, 'TENANCY_ERR_DATABASE_UNAVAILABLE')] as const,
  )
  return async () => {
    const asked = further.map(async ([name, ask]) => [name, await ask()] as const)
    const [ofMain, ofRegistry, ...others] = await Promise.all([main(), registry(), ...asked])
    return {
      ok: ofMain.ok && ofRegistry.ok,
      degraded: others.some(([, { ok }]) => !ok),
      checks: {
        database: ofMain,
        store: ofRegistry,
        servers: Object.fromEntries(others),
        ...(sharedCache && { sharedCache: { ok: sharedCache.stats().state === 'on' } }),
      },
    }
  }
}

/** Who asks while the last question has no answer waits for that one: a probe each second must not pile up. */
function createProbe({ ping }: Pingable, silent: TenancyErrorCode): () => Promise<void> {
  let asking: Promise<void> | undefined
  let since = 0
  return () => {
    if (asking === undefined || performance.now() - since >= ASK_ANEW_MS) {
      since = performance.now()
      const mine = Promise.resolve()
        .then(ping)
        .finally(() => {
          if (asking === mine) asking = undefined
        })
      asking = mine
    }
    return inTime(asking, PATIENCE_MS, () => tenancyError(silent))
  }
}
