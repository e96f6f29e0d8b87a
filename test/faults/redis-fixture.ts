import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { onTestFinished } from 'vitest'
import { createMemoryTenantStore, getTenant, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { as, tenantApp } from '../support/app.ts'
import { until } from './fixture.ts'

/** One process of an app whose tenants are shared in Redis; the log has what it warned of. */
export interface CachedApp {
  readonly app: FastifyInstance
  readonly warnings: string[]
  /** Status and identifier that a request as this tenant gets. */
  readonly ask: (identifier: string) => Promise<string>
  readonly state: () => string | undefined
  /** Resolves when L2 is used. */
  readonly on: () => Promise<void>
  readonly off: () => Promise<void>
}

/** A started app on this database and Redis. L1 forgets after a second, so that L2 is asked. */
export async function cachedApp(
  database: TestDatabase,
  redisUrl: string,
  options: TenancyOptions = {},
): Promise<CachedApp> {
  const warnings: string[] = []
  const stream = { write: (line: string) => void warnings.push((JSON.parse(line) as { msg: string }).msg) }
  const app = await tenantApp(
    database,
    { redisUrl, cacheEnabled: true, l1CacheTtlSeconds: 1, closeTimeoutSeconds: 2, authorize: () => true, ...options },
    { logger: { level: 'warn', stream } },
  )
  app.get('/who', async () => getTenant().identifier)
  onTestFinished(() => app.close())
  await app.ready()
  const state = () => app.tenancy.getMetrics().sharedCache?.state
  return {
    app,
    warnings,
    async ask(identifier) {
      const { statusCode, body } = await app.inject({ url: '/who', headers: as(identifier) })
      return statusCode === 200 ? `200 ${body}` : String(statusCode)
    },
    state,
    on: () => until(() => state() === 'on'),
    off: () => until(() => state() === 'off'),
  }
}

/** The warnings about Redis. */
export const aboutRedis = ({ warnings }: CachedApp): string[] => warnings.filter((text) => text.includes('Redis'))

/**
 * A registry of all apps of a test, that tells nobody what changes in it: so what a process knows of the writes of others comes
 * through Redis, or it does not come.
 */
export function silentRegistry(): TenancyOptions {
  const { changes: _changes, ...tenantStore } = createMemoryTenantStore()
  return { tenantStore, changeChannel: 'poll' }
}

/** Until L1 has forgotten what it holds now. */
export const untilExpired = (): Promise<void> => sleep(1050)
