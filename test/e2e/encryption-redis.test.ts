import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { getTenant, isTenantSecret } from '../../src/index.ts'
import { until } from '../faults/fixture.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const SECRET = 'p@ss-of-acme'
const keyOf = (id: string) => `${id}:${randomBytes(32).toString('base64')}`
const [k1, k2] = [keyOf('k1'), keyOf('k2')]

describeWith(['postgres18', 'redis'], 'encryption with tenants in Redis', ({ postgres18, redis }) => {
  let database: TestDatabase
  let client: Redis
  const redisKeyPrefix = `enc-${randomBytes(5).toString('hex')}`

  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
    client = new Redis(redis.url)
  })
  afterAll(async () => {
    client.disconnect()
    await database?.drop()
  })

  const appWith = async (encryptionKey: string, encryptionOldKeys: string[] = []) => {
    const app = await tenantApp(database, {
      redisUrl: redis.url,
      cacheEnabled: true,
      redisKeyPrefix,
      enableEncryption: true,
      encryptionKey,
      encryptionOldKeys,
    })
    onTestFinished(() => app.close())
    app.get('/secret', async () => {
      const { _enc_token: token } = getTenant().metadata
      return isTenantSecret(token) ? token.reveal() : 'no secret'
    })
    await app.ready()
    await until(() => app.tenancy.getMetrics().sharedCache?.state === 'on')
    const ask = (identifier: string) => app.inject({ url: '/secret', headers: as(identifier) })
    return { app, ask, hits: () => app.tenancy.getMetrics().sharedCache?.hits }
  }
  /** Everything of this app in Redis, as text. */
  const inRedis = async () => {
    const keys = await client.keys(`*${redisKeyPrefix}*`)
    const held = await Promise.all(
      keys.map(async (key) => {
        const type = await client.type(key)
        return type === 'hash' ? client.hgetall(key) : client.getBuffer(key).then((bytes) => bytes?.toString('latin1'))
      }),
    )
    return JSON.stringify([keys, held])
  }

  it('[W34] holds secrets sealed, and gives them to other processes as values that open with the key', async () => {
    const first = await appWith(k1)
    await first.app.tenancy.register({ identifier: 'acme', metadata: { _enc_token: SECRET, smtp: { _enc_p: SECRET } } })
    // What was shared before a process connected it does not believe, so all of them start first.
    const [writers, reader, stranger] = [[await appWith(k1), await appWith(k1)], await appWith(k1), await appWith(k2)]
    // The first who asks leaves there who has the identifier, the second leaves the tenant.
    for (const process of writers) expect((await process.ask('acme')).body).toBe(SECRET)
    await until(async () => (await inRedis()).includes('enc:1:k1:'))

    expect((await reader.ask('acme')).body).toBe(SECRET)
    const refused = await stranger.ask('acme')
    expect(refused.json()).toMatchObject({ code: 'TENANCY_ERR_SECRET_UNREADABLE' })
    expect(refused.body).toContain('\\"k1\\"')
    expect([reader.hits(), stranger.hits()]).toEqual([1, 1])
    expect(await inRedis()).not.toContain(SECRET)
  })

  it('[W44] a rotation reaches what other processes read', async () => {
    const job = await appWith(k2, [k1])
    expect(await job.app.tenancy.reencrypt()).toMatchObject({ resealed: 1, unreadable: 0 })
    for (const reader of [await appWith(k2), await appWith(k2)]) expect((await reader.ask('acme')).body).toBe(SECRET)
    await until(async () => (await inRedis()).includes('enc:1:k2:'))
    expect(await inRedis()).not.toMatch(/enc:1:k1:|p@ss/)
  })
})
