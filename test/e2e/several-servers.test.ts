import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import tenancy, { createMemoryTenantStore, getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, optionsFor, type PlainDb } from '../support/app.ts'
import { databaseHost, type DatabaseHost } from '../support/tenant-databases.ts'

const notes = pgTable('notes', { id: integer('id').notNull(), body: text('body').notNull() })
const MIGRATION = `CREATE TABLE "notes" (
  "tenant_id" uuid DEFAULT nullif(current_setting('app.current_tenant', true), '')::uuid,
  "id" integer NOT NULL,
  "body" text NOT NULL
);`

const strategies = ['schema', 'rls', 'prefix', 'database'] as const

describeWith(['postgres15', 'postgres18', 'pgbouncer18'], 'tenants on two PostgreSQL servers', (running) => {
  const { postgres15, postgres18, pgbouncer18 } = running
  const ports: Readonly<Record<string, number>> = { main: postgres15.port, eu: postgres18.port }
  let main: DatabaseHost
  let eu: DatabaseHost
  let folder: string
  const apps: FastifyInstance[] = []

  beforeAll(async () => {
    ;[main, eu] = await Promise.all([databaseHost(postgres15.url), databaseHost(postgres18.url)])
    folder = await mkdtemp(join(tmpdir(), 'tenancy-servers-'))
    await mkdir(join(folder, 'meta'))
    await writeFile(join(folder, 'meta/_journal.json'), '{"entries":[{"tag":"0000_notes","when":1}]}')
    await writeFile(join(folder, '0000_notes.sql'), MIGRATION)
  })
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()))
  })
  afterAll(async () => {
    await Promise.all([main?.drop(), eu?.drop()])
    await rm(folder, { recursive: true, force: true })
  })

  const db = () => getTenantDb() as PlainDb
  const appWith = async (options: TenancyOptions = {}): Promise<FastifyInstance> => {
    const app = Fastify() as unknown as FastifyInstance
    apps.push(app)
    const servers = { eu: { databaseUrl: eu.appUrl, adminDatabaseUrl: eu.adminUrl } }
    await app.register(tenancy, optionsFor(main, { migrations: folder, schema: { notes }, servers, ...options }))
    app.get('/notes', async () => (await db().select().from(notes)).map(({ body }) => body))
    app.post('/notes/:body', { config: { tenancy: { transaction: true } } }, async (request) => {
      const { body } = request.params as { body: string }
      await db().insert(notes).values({ id: 1, body })
      return portOf(db())
    })
    app.get('/where', async () => {
      const inside = await db().transaction(async (transaction) => portOf(transaction))
      return [await portOf(db()), inside]
    })
    app.get('/slow', async () => portOf(db(), 0.3))
    return app
  }
  /** The port of the server that a statement arrives at. */
  async function portOf(on: Pick<PlainDb, 'execute'>, seconds = 0): Promise<number | undefined> {
    const { rows } = await on.execute<{ port: number }>(sql`select inet_server_port() as port, pg_sleep(${seconds})`)
    return rows[0]?.port
  }
  const get = async <T>(app: FastifyInstance, tenant: string, url: string) =>
    (await app.inject({ url, headers: as(tenant) })).json<T>()
  const add = async (app: FastifyInstance, tenant: string, body = `of-${tenant}`) =>
    (await app.inject({ method: 'POST', url: `/notes/${body}`, headers: as(tenant) })).json<number>()
  /** What is on a server for this namespace: schemas, prefixed tables, databases. */
  const namesOn = (host: DatabaseHost, namespace: string) =>
    host.asSuperuserIn(host.database, async (client) => {
      const { rows } = await client.query<{ name: string }>(
        `select nspname as name from pg_namespace where nspname = $1
         union select datname from pg_database where datname = $1
         union select relname from pg_class where relkind = 'r' and relname like $1 || '\\_\\_%'`,
        [namespace],
      )
      return rows.length
    })

  it.each(strategies)(
    '[W23] [W24] %s: each is made, served and removed on its own server, and sees only its own rows',
    async (isolationStrategy) => {
      const app = await appWith({ isolationStrategy })
      const tenants = ['main', 'eu', 'main', 'eu'].map((server, index) => ({
        server,
        identifier: `${isolationStrategy}-${index}`,
      }))
      const made = await Promise.all(tenants.map((tenant) => app.tenancy.register(tenant)))
      expect(made.map(({ placement }) => placement.server)).toEqual(['main', 'eu', 'main', 'eu'])
      for (const { identifier, server } of tenants) expect(await add(app, identifier), identifier).toBe(ports[server])
      for (const { identifier, server } of tenants) {
        expect(await get(app, identifier, '/notes')).toEqual([`of-${identifier}`])
        expect(await get(app, identifier, '/where')).toEqual([ports[server], ports[server]])
        expect(await app.tenancy.verify(identifier)).toMatchObject({ ok: true })
      }
      if (isolationStrategy !== 'rls') {
        for (const { placement } of made) {
          const here = await Promise.all([namesOn(main, placement.namespace), namesOn(eu, placement.namespace)])
          expect(here.map((count) => count > 0)).toEqual([placement.server === 'main', placement.server === 'eu'])
        }
      }
      const [, gone] = made
      await app.tenancy.delete(gone?.identifier as string)
      const report = await app.tenancy.purge(gone?.identifier as string)
      expect(report.objects + report.rows).toBeGreaterThan(0)
      expect(await namesOn(eu, gone?.placement.namespace as string)).toBe(0)
      for (const { identifier } of tenants.filter((one) => one.identifier !== gone?.identifier)) {
        expect(await get(app, identifier, '/notes')).toEqual([`of-${identifier}`])
      }
    },
  )

  it('[W52] verify asks the server of the tenant, and the doctor all of them, by name', async () => {
    const app = await appWith({ isolationStrategy: 'schema' })
    for (const server of ['main', 'eu']) await app.tenancy.register({ identifier: `asked-${server}`, server })
    const tenant = await app.tenancy.get('asked-eu')
    expect(await app.tenancy.verify('asked-eu')).toMatchObject({ ok: true })
    const asEu = (text: string) => eu.asSuperuserIn(eu.database, (client) => client.query(text))
    await asEu(
      `grant create on schema ${tenant?.placement.namespace} to ${eu.appRole}; grant create on schema public to public`,
    )
    expect(await app.tenancy.verify('asked-eu')).toMatchObject({ ok: false })
    expect(await app.tenancy.verify('asked-main')).toMatchObject({ ok: true })
    const { ok, findings } = await app.tenancy.doctor()
    expect(ok).toBe(false)
    expect(findings.filter(({ severity }) => severity === 'error')).toEqual([
      expect.objectContaining({ rule: 'schema-4', server: 'eu', object: 'public' }),
    ])
    await asEu('revoke create on schema public from public')
    expect((await app.tenancy.doctor()).ok).toBe(true)
  })

  it.each(strategies)(
    '%s: 400 interleaved requests of eight tenants never cross',
    async (isolationStrategy) => {
      const app = await appWith({ isolationStrategy, databasePoolSize: 3, databaseMaxTenantConnections: 3 })
      const tenants = Array.from({ length: 8 }, (_, index) => ({
        server: index % 2 === 0 ? 'main' : 'eu',
        identifier: `busy-${isolationStrategy}-${index}`,
      }))
      for (const tenant of tenants) await app.tenancy.register(tenant)
      await Promise.all(
        Array.from({ length: 400 }, async (_, index) => {
          const { identifier, server } = tenants[(index * 5) % tenants.length] as (typeof tenants)[number]
          if (index % 3 === 0) expect(await get(app, identifier, '/where')).toEqual([ports[server], ports[server]])
          else if (index % 3 === 1) expect(await add(app, identifier, `${identifier}.${index}`)).toBe(ports[server])
          else
            for (const body of await get<string[]>(app, identifier, '/notes')) expect(body).toContain(`${identifier}.`)
        }),
      )
      let rows = 0
      for (const { identifier } of tenants) {
        const bodies = await get<string[]>(app, identifier, '/notes')
        rows += bodies.length
        expect(bodies.filter((body) => !body.startsWith(`${identifier}.`))).toEqual([])
      }
      expect(rows).toBe(133)
    },
    60_000,
  )

  it('a function chooses the server of a new tenant, register before it, and nobody is moved later', async () => {
    const tenantStore = createMemoryTenantStore()
    const chooseServer: TenancyOptions['chooseServer'] = ({ metadata }) => (metadata['region'] === 'eu' ? 'eu' : 'main')
    const app = await appWith({ tenantStore, chooseServer })
    const placed = async (identifier: string, more: object = {}) =>
      (await app.tenancy.register({ identifier, ...more })).placement.server
    expect(await placed('by-default')).toBe('main')
    expect(await placed('by-region', { metadata: { region: 'eu' } })).toBe('eu')
    expect(await placed('by-wish', { server: 'eu' })).toBe('eu')
    expect(await placed('against-region', { server: 'main', metadata: { region: 'eu' } })).toBe('main')
    await app.tenancy.update('by-region', { metadata: { region: 'us' }, identifier: 'renamed' })
    const other = await appWith({ tenantStore, chooseServer: () => 'main' })
    await other.ready()
    expect(await get(other, 'renamed', '/where')).toEqual([ports['eu'], ports['eu']])
    // A tenant that exists stays where it is.
    expect((await other.tenancy.ensure({ identifier: 'renamed', server: 'main' })).placement.server).toBe('eu')
  })

  it('a hybrid places by strategy and by server', async () => {
    const app = await appWith({
      isolationStrategy: 'hybrid',
      premiumIsolationStrategy: 'database',
      premiumTenants: ['rich-main', 'rich-eu'],
      chooseServer: ({ identifier }) => (identifier.slice(-2) === 'eu' ? 'eu' : 'main'),
    })
    for (const identifier of ['rich-main', 'rich-eu', 'poor-main', 'poor-eu']) {
      const { placement } = await app.tenancy.register({ identifier })
      expect(placement).toMatchObject({
        strategy: identifier.startsWith('rich') ? 'database' : 'rls',
        server: identifier.endsWith('eu') ? 'eu' : 'main',
      })
      expect(await add(app, identifier)).toBe(ports[placement.server])
    }
    for (const identifier of ['rich-main', 'rich-eu', 'poor-main', 'poor-eu']) {
      expect(await get(app, identifier, '/notes')).toEqual([`of-${identifier}`])
    }
  })

  it.each([
    ['register', { server: 'us' }, undefined],
    ['register', { server: '__proto__' }, undefined],
    ['register', { server: '' }, undefined],
    ['ensure', { server: 'Main' }, undefined],
    ['register', {}, () => 'us'],
    ['register', {}, (async () => 'eu') as never],
    ['ensure', {}, (() => undefined) as never],
  ] as const)(
    '[W53] %s with an unknown server is refused, and nothing is stored (%o)',
    async (verb, asked, chooseServer) => {
      const app = await appWith(chooseServer === undefined ? {} : { chooseServer })
      const refused = app.tenancy[verb]({ identifier: 'nowhere', ...asked })
      await expect(refused).rejects.toMatchObject({ code: 'TENANCY_ERR_SERVER_UNKNOWN', statusCode: 400 })
      expect(await app.tenancy.get('nowhere')).toBeUndefined()
    },
  )

  it('[W47] an unknown server that is a URL is not shown', async () => {
    const app = await appWith()
    const refused = app.tenancy.register({ identifier: 'nowhere', server: 'postgres://a:hunter2@b/c' })
    await expect(refused).rejects.toMatchObject({
      code: 'TENANCY_ERR_SERVER_UNKNOWN',
      message: expect.not.stringContaining('hunter2') as string,
    })
  })

  it('[W24] a tenant whose server is no longer configured is not served, from nowhere else either; all others are', async () => {
    const tenantStore = createMemoryTenantStore()
    const before = await appWith({ tenantStore, isolationStrategy: 'database' })
    for (const [identifier, server] of [
      ['stays', 'main'],
      ['left', 'eu'],
    ] as const) {
      await before.tenancy.register({ identifier, server })
      await add(before, identifier)
    }
    const { placement } = (await before.tenancy.get('left')) as { placement: { namespace: string } }
    // What a wrong way would find: the same names on the other server, with somebody's rows.
    await main.asSuperuserIn('postgres', (client) =>
      client.query(`create database ${placement.namespace} owner ${main.ownerRole}`),
    )

    const after = await appWith({ tenantStore, isolationStrategy: 'database', servers: {} })
    await after.ready()
    const answer = await after.inject({ url: '/notes', headers: as('left') })
    expect(answer.statusCode).toBe(503)
    expect(answer.headers['retry-after']).toBe('5')
    expect(answer.json()).toMatchObject({ code: 'TENANCY_ERR_SERVER_NOT_CONFIGURED' })
    expect(answer.body).not.toMatch(/eu|left/)
    const posted = await after.inject({ method: 'POST', url: '/notes/x', headers: as('left') })
    expect([posted.statusCode, posted.json<{ code: string }>().code]).toEqual([
      503,
      'TENANCY_ERR_SERVER_NOT_CONFIGURED',
    ])
    expect(await get(after, 'stays', '/notes')).toEqual(['of-stays'])
    await expect(after.tenancy.ensure({ identifier: 'left' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_SERVER_NOT_CONFIGURED',
    })

    // Its status can be changed; what must be removed elsewhere waits for the server.
    await after.tenancy.suspend('left')
    await after.tenancy.delete('left')
    await expect(after.tenancy.purge('left')).rejects.toMatchObject({ code: 'TENANCY_ERR_SERVER_NOT_CONFIGURED' })
    expect(await namesOn(eu, placement.namespace)).toBe(1)
    expect((await before.tenancy.purge('left')).objects).toBeGreaterThan(0)
    expect(await namesOn(eu, placement.namespace)).toBe(0)
    expect(await namesOn(main, placement.namespace)).toBe(1)
  })

  it('[W57] the budgets are for each server', async () => {
    const app = await appWith({
      isolationStrategy: 'hybrid',
      premiumIsolationStrategy: 'database',
      chooseServer: ({ identifier }) => identifier.slice(0, identifier.indexOf('-')),
      databasePoolSize: 2,
      databaseMaxTenantConnections: 3,
      databaseTenantPoolSize: 2,
    })
    const names = ['main', 'eu'].flatMap((server) => [0, 1, 2, 3].map((index) => `${server}-${index}`))
    for (const identifier of names) await app.tenancy.register({ identifier, metadata: { tier: 'premium' } })
    for (const server of ['main', 'eu']) await app.tenancy.register({ identifier: `${server}-rows` })
    const most: Record<string, number> = {}
    const watch = setInterval(() => {
      for (const [pool, { total }] of Object.entries(app.tenancy.getMetrics().pools))
        most[pool] = Math.max(most[pool] ?? 0, total)
    }, 5)
    const crowd = [...names, 'main-rows', 'eu-rows'].flatMap((name) => [1, 2, 3, 4].map(() => name))
    const answers = await Promise.all(crowd.map((name) => get<number>(app, name, '/slow')))
    clearInterval(watch)
    expect(answers).toEqual(crowd.map((name) => ports[name.startsWith('eu') ? 'eu' : 'main']))
    expect(most).toMatchObject({ serving: 2, 'eu.serving': 2, tenants: 3, 'eu.tenants': 3 })
  })

  it.each([
    ['none', 'transaction', [200, 'TENANCY_ERR_STATEMENT_REFUSED']],
    ['transaction', undefined, ['TENANCY_ERR_STATEMENT_REFUSED', 'TENANCY_ERR_STATEMENT_REFUSED']],
    ['transaction', 'none', ['TENANCY_ERR_STATEMENT_REFUSED', 200]],
  ] as const)('the option pooler is %s, that of the server %s', async (pooler, own, expected) => {
    const databaseUrl = own === 'none' ? eu.appUrl : withPort(eu.appUrl, pgbouncer18.port)
    const app = await appWith({ pooler, servers: { eu: { databaseUrl, adminDatabaseUrl: eu.adminUrl, pooler: own } } })
    app.get('/set', async () => void (await db().execute(sql`set statement_timeout = 5000`)))
    const answers: unknown[] = []
    for (const server of ['main', 'eu']) {
      const identifier = `pooled-${server}-${pooler}-${own ?? 'default'}`
      await app.tenancy.register({ identifier, server })
      expect(await add(app, identifier)).toBe(ports[server])
      const answer = await app.inject({ url: '/set', headers: as(identifier) })
      answers.push(answer.statusCode === 200 ? 200 : answer.json<{ code: string }>().code)
    }
    expect(answers).toEqual(expected)
  })

  it('[W54] closes the connections of a suspended tenant on its server', async () => {
    const app = await appWith({ isolationStrategy: 'database' })
    for (const server of ['main', 'eu']) {
      await app.tenancy.register({ identifier: `pausing-${server}`, server })
      await add(app, `pausing-${server}`)
    }
    const idle = () => {
      const { pools } = app.tenancy.getMetrics()
      return [pools['tenants']?.total, pools['eu.tenants']?.total]
    }
    await expect.poll(idle).toEqual([1, 1])
    await app.tenancy.suspend('pausing-eu')
    await expect.poll(idle).toEqual([1, 0])
    await app.tenancy.delete('pausing-main')
    await expect.poll(idle).toEqual([0, 0])
  })
})
