import Fastify from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import tenancy, { runWithTenant, type TenancyOptions } from '../../src/index.ts'
import { as } from '../support/app.ts'

interface Line {
  readonly msg: string
  readonly code?: string
  readonly reason?: string
}

const BODY =
  '{"type":"about:blank","title":"Bad Request","status":400,"detail":"The tenant could not be determined, or is not served.","code":"TENANCY_ERR_TENANT_UNKNOWN"}'

async function started(options: TenancyOptions = {}, level = 'debug') {
  const lines: Line[] = []
  const stream = { write: (line: string) => void lines.push(JSON.parse(line) as Line) }
  const app = Fastify({ pluginTimeout: 60_000, logger: { level, stream } })
  onTestFinished(() => app.close())
  await app.register(tenancy, { databaseUrl: 'pglite:memory', ...options })
  app.get('/', () => 'served')
  for (const identifier of ['acme', 'frozen', 'gone']) await app.tenancy.ensure({ identifier })
  await app.tenancy.suspend('frozen')
  await app.tenancy.delete('gone')
  const refused = async (headers: Record<string, string>) => {
    lines.length = 0
    const { statusCode, body } = await app.inject({ url: '/', headers })
    expect([statusCode, body]).toEqual([400, BODY])
    return lines.filter(({ msg }) => msg === 'request refused')
  }
  return { app, refused }
}

const because = (reason: string) => [expect.objectContaining({ code: 'TENANCY_ERR_TENANT_UNKNOWN', reason }) as Line]

it('the log says at debug level why a request was refused, and the answer does not', async () => {
  const answers: unknown[] = [false, 'yes', 1, null, undefined]
  const { refused } = await started({ authorize: (() => answers[0]) as never })
  expect(await refused({})).toEqual(because('no claim'))
  expect(await refused(as('Acme'))).toEqual(because('malformed'))
  expect(await refused(as(''))).toEqual(because('malformed: empty, ambiguous, or not the same to all resolvers'))
  expect(await refused(as('nobody'))).toEqual(because('unknown'))
  expect(await refused(as('gone'))).toEqual(because('status deleted'))
  for (const tenant of ['acme', 'frozen']) expect(await refused(as(tenant))).toEqual(because('authorize said no'))
  for (const type of ['string', 'number', 'null', 'undefined']) {
    answers.shift()
    expect(await refused(as('acme'))).toEqual(because(`authorize returned ${type}, not true`))
  }
}, 60_000)

it('a reason names nobody, however long what was sent is, and there is none above debug level', async () => {
  const { refused } = await started()
  const [line] = await refused(as('x'.repeat(500)))
  expect(line?.reason).toBe('malformed')
  const quiet = await started({}, 'info')
  expect(await quiet.refused(as('nobody'))).toEqual([])
}, 60_000)

it('a job is told whom it named, cut, and a request that was refused by one is not', async () => {
  const { app, refused } = await started({
    authorize: async (_tenant, request) => runWithTenant(String(request.headers['x-other']), () => true),
  })
  const failing = (ref: Parameters<typeof runWithTenant>[0]) => expect(runWithTenant(ref, () => 1)).rejects
  await failing('nobody').toThrow('The tenant "nobody" could not be determined, or is not served.')
  await failing('gone').toThrow('The tenant "gone" could not')
  await failing({ id: 'no-id' }).toThrow('The tenant "no-id" could not')
  await failing(`x\n${'y'.repeat(500)}`).toThrow(/^The tenant "x\\n[y]{60,80}\.\.\." could not/)
  await refused({ ...as('acme'), 'x-other': 'somebody' })
  expect((await app.inject({ url: '/', headers: { ...as('acme'), 'x-other': 'acme' } })).body).toBe('served')
}, 60_000)
