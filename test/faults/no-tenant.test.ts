import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { getTenantDb, runWithoutTenant } from '../../src/index.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase } from '../support/database.ts'
import { call, shop } from './fixture.ts'

describeWith(['postgres18'], 'a call without a tenant', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('[rls-5] is a typed error before a single byte goes to the database', async () => {
    const [serving, admin] = await Promise.all([1, 2].map(() => startProxy({ target: postgres18.port })))
    if (serving === undefined || admin === undefined) throw new Error('no proxies')
    onTestFinished(async () => void (await Promise.all([serving.stop(), admin.stop()])))
    const app = await shop(
      database,
      {
        databaseUrl: withPort(database.appUrl, serving.port),
        adminDatabaseUrl: withPort(database.adminUrl, admin.port),
      },
      (made) => {
        const free = { config: { tenancy: false } } as const
        made.get('/global', free, async () => getTenantDb())
        made.get('/request', free, async (request) => request.tenantDb)
        made.get('/without', async () => runWithoutTenant(() => getTenantDb()))
      },
    )
    await call(app, '/names')
    serving.resetCounters()
    admin.resetCounters()
    for (const url of ['/global', '/request', '/without']) {
      const answer = await call(app, url)
      expect(answer.statusCode, url).toBe(500)
      expect(answer.json(), url).toMatchObject({ code: 'TENANCY_ERR_NO_TENANT' })
    }
    expect(() => getTenantDb()).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_NO_TENANT' }))
    for (const { turns, accepted } of [serving, admin]) expect([turns, accepted]).toEqual([0, 0])
  })
})
