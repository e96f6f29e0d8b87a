import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import tenancy, { type Tenancy } from '../../src/index.ts'

/** What JavaScript can call: the types say no to all of these. */
const wrong: readonly [what: string, call: (verbs: Untyped) => unknown, says: RegExp][] = [
  [
    'register()',
    (verbs) => verbs['register']?.(),
    /a registration must be an object, received undefined; fields are identifier/,
  ],
  ['register(text)', (verbs) => verbs['register']?.('acme'), /received "acme"/],
  ['register([])', (verbs) => verbs['register']?.([]), /received an array/],
  [
    'register({ metdata })',
    (verbs) => verbs['register']?.({ identifier: 'acme-2', metdata: {} }),
    /"metdata" is no field of a registration; did you mean metadata\?/,
  ],
  ['ensure(null)', (verbs) => verbs['ensure']?.(null), /received null/],
  [
    'update(_, nothing)',
    (verbs) => verbs['update']?.('acme'),
    /a patch must be an object, received undefined; fields are identifier, name, metadata/,
  ],
  ['update(_, text)', (verbs) => verbs['update']?.('acme', 'x'), /received "x"/],
  [
    'update(_, status)',
    (verbs) => verbs['update']?.('acme', { status: 'suspended' }),
    /"status" is no field of a patch; fields are/,
  ],
  ['update(_, nam)', (verbs) => verbs['update']?.('acme', { nam: 'x' }), /did you mean name\?/],
  [
    'update(_, _, text)',
    (verbs) => verbs['update']?.('acme', { name: 'x' }, '1'),
    /`expectedVersion` must be a whole number, received "1"/,
  ],
  [
    'update(undefined)',
    (verbs) => verbs['update']?.(undefined, { name: 'x' }),
    /a tenant must be an identifier or \{ id \}, received undefined/,
  ],
  ['list(statuz)', (verbs) => verbs['list']?.({ statuz: 'active' }), /did you mean status\?/],
  ['list(text)', (verbs) => verbs['list']?.('active'), /the options of a list must be an object/],
  ['list(null)', (verbs) => verbs['list']?.(null), /received null/],
  [
    'list(status: Active)',
    (verbs) => verbs['list']?.({ status: 'Active' }),
    /`status` must be one of provisioning, active, .*received "Active"/,
  ],
  ['list(limit)', (verbs) => verbs['list']?.({ limit: '5' }), /limit/],
  ['list(search)', (verbs) => verbs['list']?.({ search: 5 }), /search/],
  [
    'iterate(limit)',
    (verbs) => (verbs['iterate']?.({ limit: 5 }) as AsyncGenerator | undefined)?.next(),
    /"limit" is no field of a filter/,
  ],
  [
    'iterate(status)',
    (verbs) => (verbs['iterate']?.({ status: 1 }) as AsyncGenerator | undefined)?.next(),
    /`status` must be one of/,
  ],
  ['getByIds(text)', (verbs) => verbs['getByIds']?.('x'), /`ids` must be an array, received "x"/],
  ['suspendMany()', (verbs) => verbs['suspendMany']?.(), /`refs` must be an array, received undefined/],
  ['activateMany(text)', (verbs) => verbs['activateMany']?.('acme'), /`refs` must be an array/],
  ['run(_, nothing)', (verbs) => verbs['run']?.('acme'), /`work` must be a function, received undefined/],
  ...['get', 'suspend', 'activate', 'delete', 'purge', 'verify', 'run'].flatMap((verb): typeof wrong =>
    [undefined, null, 5, {}, { id: 5 }, []].map((ref) => [
      `${verb}(${JSON.stringify(ref)})`,
      (verbs) => verbs[verb]?.(ref, () => {}),
      /a tenant must be an identifier or \{ id \}, received/,
    ]),
  ),
]

type Untyped = Readonly<Record<string, ((...parameters: unknown[]) => unknown) | undefined>>

describe('what JavaScript may hand to the verbs', () => {
  let app: FastifyInstance
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tenancy-input-'))
    app = Fastify({ pluginTimeout: 60_000 }) as unknown as FastifyInstance
    await app.register(tenancy, { databaseUrl: `file:${join(folder, 'app.db')}`, isolationStrategy: 'database' })
    await app.ready()
    await app.tenancy.register({ identifier: 'acme' })
  })
  afterAll(async () => {
    await app?.close()
    await rm(folder, { recursive: true, force: true })
  })

  it.each(wrong)('%s is told with a code', async (_what, call, says) => {
    const failure = await Promise.resolve()
      .then(() => call(app.tenancy as Tenancy & Untyped))
      .then(
        () => undefined,
        (error: unknown) => error,
      )
    expect(failure).toMatchObject({ code: 'TENANCY_ERR_TENANT_INVALID', statusCode: 400 })
    expect((failure as Error).message).toMatch(says)
  })

  it('changes nothing, and takes a whole tenant for a reference', async () => {
    const tenant = await app.tenancy.get('acme')
    expect(tenant).toMatchObject({ status: 'active', version: 2, name: 'acme' })
    expect(await app.tenancy.get(tenant ?? '')).toEqual(tenant)
    expect((await app.tenancy.list({})).tenants).toHaveLength(1)
  })
})
