import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { getTenant } from '../../src/index.ts'
import { hostileValues } from '../resolvers/request.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

describeWith(['postgres18'], 'hostile identifiers', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it('are refused before L1 is asked, and before a single byte goes to the database', async () => {
    const [serving, admin] = await Promise.all([1, 2].map(() => startProxy({ target: postgres18.port })))
    if (serving === undefined || admin === undefined) throw new Error('no proxies')
    onTestFinished(async () => void (await Promise.all([serving.stop(), admin.stop()])))
    const app = await tenantApp(database, {
      databaseUrl: withPort(database.appUrl, serving.port),
      adminDatabaseUrl: withPort(database.adminUrl, admin.port),
      resolutionStrategy: ['header', 'subdomain', 'path'],
      domainSuffix: 'example.test',
    })
    onTestFinished(() => app.close())
    app.get('/who', async () => getTenant().identifier)
    app.get('/tenants/:tenant/who', async () => getTenant().identifier)
    await app.ready()
    for (const identifier of ['acme', 'beta']) await app.tenancy.register({ identifier })

    // A host is the same in any case.
    const hosts = hostileValues.filter((value) => value !== 'Acme')
    const claims = [
      ...hostileValues.map((value) => ({ url: '/who', headers: as(value) })),
      ...hosts.map((value) => ({ url: '/who', headers: { host: `${value}.example.test` } })),
      ...hostileValues.map((value) => ({ url: `/tenants/${encodeURIComponent(value)}/who` })),
    ]
    const before = app.tenancy.getMetrics().cache
    const ask = async () => {
      serving.resetCounters()
      admin.resetCounters()
      const answers = await Promise.all(claims.map((claim) => app.inject(claim)))
      for (const [index, { statusCode }] of answers.entries()) {
        expect([400, 404, 414], JSON.stringify(claims[index]).slice(0, 80)).toContain(statusCode)
      }
      return [serving, admin].map(({ turns, accepted }) => turns + accepted)
    }
    // The heartbeat of the changes goes over one of the connections, five times a second.
    let turns = await ask()
    for (let round = 1; round < 20 && turns.some((n) => n > 0); round++) turns = await ask()
    expect(turns).toEqual([0, 0])
    expect(app.tenancy.getMetrics().cache).toEqual(before)
    // A well-formed one does ask both.
    await app.inject({ url: '/who', headers: as('nobody') })
    expect(app.tenancy.getMetrics().cache.misses).toBe(before.misses + 1)
    expect(admin.turns).toBeGreaterThan(0)
  })
})
