import cors from '@fastify/cors'
import { sql } from 'drizzle-orm'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import tenancy, { getTenant, getTenantDb, isTenancyError, runWithTenant, type TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, optionsFor, type PlainDb, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const UNKNOWN =
  '{"type":"about:blank","title":"Bad Request","status":400,"detail":"The tenant could not be determined, or is not served.","code":"TENANCY_ERR_TENANT_UNKNOWN"}'

const db = () => getTenantDb() as PlainDb

describeWith(['postgres18'], 'the plugin on PostgreSQL', ({ postgres18 }) => {
  let database: TestDatabase
  let app: FastifyInstance | undefined

  const start = async (
    options: TenancyOptions = {},
    routes: (app: FastifyInstance) => void = () => {},
  ): Promise<FastifyInstance> => {
    const made = await tenantApp(database, options)
    made.get('/who', async () => getTenant().identifier)
    made.get('/count', async () => (await db().execute<{ n: string }>(sql`select count(*) as n from orders`)).rows)
    routes(made)
    await made.ready()
    app = made
    return made
  }

  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
    const seed = await tenantApp(database, { migrations: 'test/fixtures/migrations/kit-0.31' })
    for (const identifier of ['acme', 'globex', 'frozen', 'gone']) await seed.tenancy.ensure({ identifier })
    await seed.tenancy.suspend('frozen')
    await seed.tenancy.delete('gone')
    await seed.close()
  })
  afterEach(async () => {
    await app?.close()
    app = undefined
  })
  afterAll(() => database?.drop())

  it('serves each tenant its own schema, with migrations applied', async () => {
    const app = await start()
    await app.tenancy.run('acme', async () =>
      db().execute(sql`insert into customers (name, email) values ('Ann', 'ann@acme.test')`),
    )
    const seen = async (identifier: string) =>
      app.tenancy.run(identifier, async () =>
        (await db().execute<{ name: string }>(sql`select name from customers`)).rows.map((row) => row.name),
      )
    expect(await seen('acme')).toEqual(['Ann'])
    expect(await seen('globex')).toEqual([])
    const response = await app.inject({ url: '/count', headers: as('acme') })
    expect(response.json()).toEqual([{ n: '0' }])
  })

  it('[W45] gives missing, malformed, reserved, unknown, provisioning and deleted tenants one answer', async () => {
    const app = await start(
      { resolutionStrategy: ['header', 'subdomain', 'path'], domainSuffix: 'example.test' },
      (app) => {
        app.get('/tenants/:tenant/who', async () => getTenant().identifier)
      },
    )
    await asSuperuser(database, (client) =>
      client.query(`insert into tenancy.tenants (id, identifier, name, status, strategy, server, namespace, row_key, row_key_canonical, metadata, version, name_folded)
        values ('11111111-1111-4111-8111-111111111111', 'halfway', 'x', 'provisioning', 'schema', 'main', 'tprovisioning', '1', '1', '{}', 1, 'x') on conflict do nothing`),
    )
    const headers = [
      '',
      ' ',
      'nobody',
      'ACME',
      'acme\t x',
      'www',
      'gone',
      'halfway',
      'acme, globex',
      'pg_catalog',
      `a'; drop schema x; --`,
      'аcme',
      'a'.repeat(64),
    ]
    const answers = [
      await app.inject({ url: '/who' }),
      await app.inject({ url: '/who', headers: { host: 'nobody.example.test' } }),
      await app.inject({ url: '/who', headers: { host: 'deep.acme.example.test' } }),
      await app.inject({ url: '/tenants/nobody/who' }),
      await app.inject({ url: '/tenants/acme%2Fx/who' }),
      ...(await Promise.all(headers.map((value) => app.inject({ url: '/who', headers: { 'x-tenant-id': value } })))),
    ]
    for (const answer of answers) {
      expect(answer.statusCode).toBe(400)
      expect(answer.body).toBe(UNKNOWN)
      expect({ ...answer.headers, date: '' }).toEqual({ ...answers[0]?.headers, date: '' })
    }
    expect((await app.inject({ url: '/tenants/acme/who' })).body).toBe('acme')
    expect((await app.inject({ url: '/who', headers: { host: 'globex.example.test:8080' } })).body).toBe('globex')
  })

  it('tells a suspended tenant 403, unless `authorize` refused the caller', async () => {
    const open = await start()
    expect((await open.inject({ url: '/who', headers: as('frozen') })).json()).toMatchObject({
      status: 403,
      code: 'TENANCY_ERR_TENANT_SUSPENDED',
    })
    await open.close()
    const guarded = await start({ authorize: async (_tenant, request) => request.headers['x-key'] === 'k' })
    expect((await guarded.inject({ url: '/who', headers: as('frozen') })).body).toBe(UNKNOWN)
    expect((await guarded.inject({ url: '/who', headers: { ...as('frozen'), 'x-key': 'k' } })).statusCode).toBe(403)
  })

  it('[W12] lets `authorize` bind the tenant to the caller: only a clear yes opens', async () => {
    for (const answer of [false, undefined, null, 'yes', 1]) {
      const refusing = await start({ authorize: (() => answer) as never })
      expect((await refusing.inject({ url: '/who', headers: as('acme') })).body, String(answer)).toBe(UNKNOWN)
      await refusing.close()
    }
    const throwing = await start({
      authorize: () => {
        throw Object.assign(new Error('log in first'), { statusCode: 401 })
      },
    })
    expect((await throwing.inject({ url: '/who', headers: as('acme') })).statusCode).toBe(401)
  })

  it('[W16] opts out and in by route, and out by whole segments of the path', async () => {
    const app = await start({ excludedPaths: ['/health'] }, (app) => {
      const tenantOrNot = async (request: { tenant: unknown }) => (request.tenant === null ? 'none' : 'tenant')
      app.get('/free', { config: { tenancy: false } }, tenantOrNot)
      app.get('/health', tenantOrNot)
      app.get('/health/live', tenantOrNot)
      app.get('/health/mine', { config: { tenancy: true } }, tenantOrNot)
      app.get('/healthcare-records', tenantOrNot)
    })
    const body = async (url: string, headers = {}) => (await app.inject({ url, headers })).body
    expect(await body('/free')).toBe('none')
    expect(await body('/health')).toBe('none')
    expect(await body('/health/live')).toBe('none')
    expect(await body('/health/mine')).toBe(UNKNOWN)
    expect(await body('/health/mine', as('acme'))).toBe('tenant')
    expect(await body('/healthcare-records')).toBe(UNKNOWN)
    expect((await app.inject({ url: '/nowhere' })).statusCode).toBe(404)
  })

  it('refuses a wrong route setting at once, and a transaction route from before the plugin', async () => {
    const app = await start()
    await app.close()
    const wrong = await tenantApp(database)
    expect(() => wrong.get('/x', { config: { tenancy: 'yes' as never } }, async () => 'x')).toThrow(
      /invalid `config.tenancy`/,
    )
    await wrong.close()
    const early = Fastify()
    early.get('/tx', { config: { tenancy: { transaction: true } } }, async () => 'x')
    early.get('/plain', async (request) => request.tenant?.identifier)
    await early.register(tenancy, optionsFor(database))
    expect((await early.inject({ url: '/tx', headers: as('acme') })).json()).toMatchObject({
      code: 'TENANCY_ERR_ROUTE_CONFIG_INVALID',
    })
    expect((await early.inject({ url: '/plain', headers: as('acme') })).body).toBe('acme')
    await early.close()
  })

  it('[W46] never refuses a CORS pre-flight', async () => {
    const app = await tenantApp(database)
    await app.register(cors)
    app.get('/who', async () => getTenant().identifier)
    app.options('/own', async () => 'mine')
    const preflight = {
      method: 'OPTIONS',
      headers: { origin: 'https://x.test', 'access-control-request-method': 'GET' },
    } as const
    expect((await app.inject({ url: '/who', ...preflight })).statusCode).toBe(204)
    expect((await app.inject({ url: '/own', ...preflight })).statusCode).toBe(204)
    expect((await app.inject({ url: '/own', method: 'OPTIONS' })).statusCode).toBe(400)
    await app.close()
    const bare = await start({}, (app) => void app.options('/own', async () => 'mine'))
    expect((await bare.inject({ url: '/own', ...preflight })).body).toBe('mine')
  })

  it('resolves at the stage that `hook` names', async () => {
    for (const hook of ['onRequest', 'preValidation', 'preHandler'] as const) {
      const app = await tenantApp(database, { hook })
      const seen: string[] = []
      for (const stage of ['onRequest', 'preValidation', 'preHandler'] as const) {
        app.addHook(stage, async (request: { tenant: unknown }) => void (request.tenant !== null && seen.push(stage)))
      }
      app.get('/who', async () => getTenant().identifier)
      expect((await app.inject({ url: '/who', headers: as('acme') })).body).toBe('acme')
      expect(seen).toEqual(
        ['onRequest', 'preValidation', 'preHandler'].slice(['onRequest', 'preValidation', 'preHandler'].indexOf(hook)),
      )
      await app.close()
    }
  })

  it('takes the statement parameters out of what a client sees when a handler fails for lack of a tenant', async () => {
    const app = await start({}, (app) => {
      app.get('/none', { config: { tenancy: false } }, async () => db().execute(sql`select 1`))
      app.get('/decorated', { config: { tenancy: false } }, async (request) => request.tenantDb)
    })
    for (const url of ['/none', '/decorated']) {
      expect((await app.inject({ url })).json()).toMatchObject({ statusCode: 500, code: 'TENANCY_ERR_NO_TENANT' })
    }
  })

  it('honours its options: reserved names, default status, registry schema, header name', async () => {
    const app = await start({
      reservedIdentifiers: ['mine'],
      defaultTenantStatus: 'suspended',
      tenantHeaderName: 'x-customer',
    })
    await expect(app.tenancy.register({ identifier: 'mine' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_IDENTIFIER_INVALID',
    })
    await expect(app.tenancy.update('acme', { identifier: 'mine' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_IDENTIFIER_INVALID',
    })
    expect((await app.tenancy.register({ identifier: 'sleepy' })).status).toBe('suspended')
    expect((await app.inject({ url: '/who', headers: { 'x-customer': 'acme' } })).body).toBe('acme')
    expect((await app.inject({ url: '/who', headers: as('acme') })).body).toBe(UNKNOWN)
  })

  it('finds its way about tenants: get, list, update, verbs by identifier or id', async () => {
    const app = await start()
    const acme = await app.tenancy.get('acme')
    expect(acme).toMatchObject({ identifier: 'acme', status: 'active' })
    expect(await app.tenancy.get(acme ?? 'x')).toEqual(acme)
    expect(await app.tenancy.get('nobody')).toBeUndefined()
    expect((await app.tenancy.list({ status: 'suspended' })).tenants.map((tenant) => tenant.identifier)).toContain(
      'frozen',
    )
    expect((await app.tenancy.update('acme', { name: 'Acme Inc.', metadata: { plan: 'gold' } })).metadata).toEqual({
      plan: 'gold',
    })
    await expect(app.tenancy.update('acme', { name: 'x' }, 1)).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_CONFLICT',
    })
    await expect(app.tenancy.suspend('nobody')).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_NOT_FOUND' })
    await expect(app.tenancy.activate('gone')).rejects.toMatchObject({ code: 'TENANCY_ERR_STATUS_TRANSITION' })
    await expect(app.tenancy.register({ identifier: 'acme' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_EXISTS',
    })
    await expect(app.tenancy.ensure({ identifier: 'gone' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_STATUS_TRANSITION',
    })
    const [row] = (
      await ((await app.tenancy.adminDb()) as PlainDb).execute<{ n: string }>(
        sql`select count(*) as n from tenancy.tenants`,
      )
    ).rows
    expect(Number(row?.n)).toBeGreaterThan(3)
    expect(app.tenancy.getMetrics().pools['serving']).toBeDefined()
  })

  it('keeps several instances of one process apart', async () => {
    const other = await baselineDatabase(postgres18.url)
    const root = Fastify()
    await root.register(async (child) => {
      await child.register(tenancy, optionsFor(database))
      child.get('/one', async (request) => `${request.tenant?.id} ${await currentSchema()}`)
    })
    let second: FastifyInstance | undefined
    await root.register(async (child) => {
      await child.register(tenancy, optionsFor(other, { tenantHeaderName: 'x-other' }))
      second = child as unknown as FastifyInstance
      child.get('/two', async (request) => `${request.tenant?.id} ${await currentSchema()}`)
    })
    const currentSchema = async () => (await db().execute<{ s: string }>(sql`select current_schema() as s`)).rows[0]?.s
    await root.ready()
    const tenant = await second?.tenancy.ensure({ identifier: 'acme' })
    const one = await root.inject({ url: '/one', headers: as('acme') })
    const two = await root.inject({ url: '/two', headers: { 'x-other': 'acme' } })
    expect(two.body).toBe(`${tenant?.id} ${tenant?.placement.namespace}`)
    expect(one.body).not.toBe(two.body)
    expect((await root.inject({ url: '/one', headers: { 'x-other': 'acme' } })).body).toBe(UNKNOWN)
    await expect(runWithTenant('acme', () => 1)).rejects.toMatchObject({ code: 'TENANCY_ERR_AMBIGUOUS_INSTANCE' })
    expect(await second?.tenancy.run('acme', () => runWithTenant('acme', (again) => again.id))).toBe(tenant?.id)
    await root.close()
    await expect(runWithTenant('acme', () => 1)).rejects.toMatchObject({ code: 'TENANCY_ERR_NOT_STARTED' })
    await other.drop()
  })

  it('refuses a second registration in one scope', async () => {
    const app = await tenantApp(database)
    await expect(app.register(tenancy, optionsFor(database))).rejects.toMatchObject({
      code: 'TENANCY_ERR_ALREADY_REGISTERED',
    })
    await app.close().catch(() => {})
  })

  it('[W47] shows no secret in errors, inspection or logs', async () => {
    const lines: string[] = []
    const app = Fastify({ logger: { level: 'trace', stream: { write: (line: string) => void lines.push(line) } } })
    await app.register(
      tenancy,
      optionsFor(database, { databaseUrl: database.appUrl.replace('@', ':hunter2@'), databaseEcho: true }),
    )
    app.get('/echo', async () => (await db().execute(sql`select ${'s3cret-parameter'}::text as x`)).rows)
    await app.ready()
    await app.inject({ url: '/echo', headers: as('acme') })
    expect(lines.join('')).toContain('tenant statement')
    expect(lines.join('')).not.toMatch(/hunter2|s3cret-parameter/)
    await app.close()
    const failing = Fastify()
    const error: unknown = await Promise.resolve(
      failing.register(tenancy, { databaseUrl: 'oracle://u:hunter2@h/d', databasePoolSize: 0 }),
    ).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(isTenancyError(error, 'TENANCY_ERR_CONFIG_INVALID')).toBe(true)
    expect(String(error)).toMatch(/databaseUrl[^]*databasePoolSize/)
    expect(String(error)).not.toContain('hunter2')
  })
})
