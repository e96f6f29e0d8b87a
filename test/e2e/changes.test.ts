import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { createMemoryTenantStore, getTenant, getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { until } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, type PlainDb, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

describeWith(['postgres18', 'redis'], 'changeChannel', ({ postgres18, redis }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const start = async (options: TenancyOptions) => {
    const app = await tenantApp(database, options)
    onTestFinished(() => app.close())
    app.get('/who', async () => getTenant().identifier)
    await app.ready()
    return app
  }
  const listeners = () =>
    asSuperuser(database, async (client) => {
      const { rows } = await client.query<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity
          where datname = current_database() and application_name = 'fastify-tenancy changes'`,
      )
      return rows[0]?.n
    })
  const subscribers = async () => {
    const client = new Redis(redis.url)
    onTestFinished(() => client.disconnect())
    const [, n] = (await client.pubsub('NUMSUB', 'tenancy:changes')) as [string, number]
    return n
  }

  it.each<[TenancyOptions['changeChannel'], TenancyOptions, number, number]>([
    ['auto', {}, 1, 0],
    ['auto', { redisUrl: redis.url }, 1, 0],
    ['listen', { redisUrl: redis.url }, 1, 0],
    ['redis', { redisUrl: redis.url }, 0, 1],
    ['poll', { redisUrl: redis.url }, 0, 0],
    ['auto', { redisUrl: redis.url, tenantStore: createMemoryTenantStore() }, 0, 1],
  ])(
    '`%s` with %j: %i listens in PostgreSQL, %i in Redis, until it is closed',
    async (changeChannel, options, inPg, inRedis) => {
      const one = await start({ changeChannel, ...options })
      await until(async () => (await listeners()) === inPg && (await subscribers()) === inRedis)
      const other = await start({ changeChannel, ...options })
      await until(async () => (await listeners()) === inPg * 2 && (await subscribers()) === inRedis * 2)

      const identifier = `shop-${Math.random().toString(36).slice(2)}`
      await one.tenancy.register({ identifier })
      const ask = async () => (await other.inject({ url: '/who', headers: as(identifier) })).statusCode
      expect(await ask()).toBe(200)
      await one.tenancy.suspend(identifier)
      await until(async () => (await ask()) === 403, 1)
      await one.tenancy.activate(identifier)
      await until(async () => (await ask()) === 200, 1)
      await Promise.all([one.close(), other.close()])
      await until(async () => (await listeners()) === 0 && (await subscribers()) === 0)
    },
  )

  it('[W40] hears of everybody in the same news as one whose row key was broken by hand', async () => {
    const one = await start({ changeChannel: 'listen', isolationStrategy: 'rls' })
    const kept = new Map<string, PlainDb>()
    for (const name of ['one', 'other']) {
      const { id, identifier } = await one.tenancy.register({ identifier: `${name}-${randomUUID()}` })
      await one.tenancy.run(identifier, () => void kept.set(id, getTenantDb() as PlainDb))
    }
    await sleep(500)
    // The first of them in the news, which come by id.
    const ids = [...kept.keys()].sort()
    await asSuperuser(database, (client) =>
      client.query(
        `update tenancy.tenants set status = 'suspended', row_key = case id when $1 then ' ' else row_key end
          where id in ($1::uuid, $2::uuid)`,
        ids,
      ),
    )
    const revoked = (id: string) =>
      kept
        .get(id)
        ?.execute(sql`select 1`)
        .then(
          () => false,
          (error: { cause?: { code?: unknown } }) => error.cause?.code === 'TENANCY_ERR_TENANT_REVOKED',
        ) ?? false
    for (const id of ids) await until(() => revoked(id), 1)
  })

  it('tells by Redis what a store of your own cannot tell', async () => {
    const { changes: _, ...tenantStore } = createMemoryTenantStore()
    const options = { tenantStore, redisUrl: redis.url }
    const [one, other] = [await start(options), await start(options)]
    await until(async () => (await subscribers()) === 2)
    await one.tenancy.register({ identifier: 'acme' })
    const ask = async () => (await other.inject({ url: '/who', headers: as('acme') })).statusCode
    await until(async () => (await ask()) === 200, 1)
    await one.tenancy.suspend('acme')
    await until(async () => (await ask()) === 403, 1)
  })
})
