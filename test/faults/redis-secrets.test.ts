import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { getTenant, type TenantSecret } from '../../src/index.ts'
import { rawRedis } from '../cache/shared.ts'
import type { TestDatabase } from '../servers/database.ts'
import { startRedis } from '../servers/redis.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { until } from './fixture.ts'
import { cachedApp, untilExpired } from './redis-fixture.ts'

describeWith(['postgres18', 'redis'], 'secrets of tenants in Redis', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('are sealed there as they are in the registry, and open for a handler', async () => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const options = { enableEncryption: true, encryptionKey: `k1:${randomBytes(32).toString('base64')}` }
    const one = await cachedApp(database, server.url, options)
    const two = await cachedApp(database, server.url, options)
    await one.app.tenancy.ensure({ identifier: 'acme', metadata: { _enc_token: 's3cret-t0ken', plan: 'pr0-plan' } })
    await Promise.all([one.on(), two.on()])
    await until(async () => {
      await untilExpired()
      const token = await two.app.tenancy.run('acme', () =>
        (getTenant().metadata['_enc_token'] as TenantSecret).reveal(),
      )
      expect(token).toBe('s3cret-t0ken')
      return (two.app.tenancy.getMetrics().sharedCache?.hits ?? 0) > 0
    }, 20)
    const raw = await rawRedis(server.url)
    const keys = (await raw.call('keys', 'tenancy:tenant:*')) as string[]
    const texts = await Promise.all(keys.map((key) => raw.call('hgetall', key)))
    expect(JSON.stringify(texts)).toContain('pr0-plan')
    expect(JSON.stringify(texts)).not.toContain('s3cret')
  })
})
