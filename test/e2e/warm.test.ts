import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import tenancy, { getTenant, type TenancyOptions } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { as, optionsFor } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'

const header = { url: '/who', headers: as('acme') }

/** How a request names its tenant. */
const claims: Record<string, readonly [TenancyOptions, { url: string; headers?: Record<string, string> }]> = {
  header: [{ resolutionStrategy: 'header' }, header],
  subdomain: [
    { resolutionStrategy: 'subdomain', domainSuffix: 'example.test' },
    { url: '/who', headers: { host: 'acme.example.test' } },
  ],
  path: [{ resolutionStrategy: 'path' }, { url: '/tenants/acme/who' }],
  'chain that must agree': [
    { resolutionStrategy: ['header', 'path'], resolutionMustAgree: true },
    { url: '/tenants/acme/who', headers: as('acme') },
  ],
  'resolver of your own': [{ resolutionStrategy: 'custom', resolver: () => 'acme' }, { url: '/who' }],
  'header, `authorize` that answers at once': [{ authorize: () => true }, header],
  'header, transaction': [{}, { url: '/in-transaction', headers: as('acme') }],
}

describeWith(['postgres18'], 'a warm tenant', ({ postgres18 }) => {
  it.each(Object.entries(claims))('is admitted without an await: %s', async (_what, [options, request]) => {
    const database = await baselineDatabase(postgres18.url)
    onTestFinished(() => database.drop())
    const app = Fastify() as unknown as FastifyInstance
    onTestFinished(() => app.close())
    let waited = false
    app.addHook('onRequest', (_request, _reply, done) => {
      waited = false
      // The first thing that runs once anybody waits for anything.
      process.nextTick(() => (waited = true))
      done()
    })
    await app.register(tenancy, optionsFor(database, options))
    app.addHook('onRequest', (_request, reply, done) => {
      reply.header('x-waited', String(waited))
      done()
    })
    const who = async () => getTenant().identifier
    app.get('/who', who)
    app.get('/tenants/:tenant/who', who)
    app.get('/in-transaction', { config: { tenancy: { transaction: true } } }, who)
    await app.ready()
    await app.tenancy.register({ identifier: 'acme' })
    const seen = ({ body, headers }: LightMyRequestResponse) => [body, headers['x-waited']]
    const cold = await app.inject(request)
    expect(cold.body).toBe('acme')
    expect(seen(await app.inject(request))).toEqual(['acme', 'false'])
  })
})
