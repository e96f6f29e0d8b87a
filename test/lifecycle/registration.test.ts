import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { createRegistration, type RegistrationService } from '../../src/lifecycle/registration.ts'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { add, addMigrations, db, gate, itemsMigration, migrationsOf, namesIn } from '../faults/fixture.ts'
import { as, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase, testServer } from '../support/database.ts'

const broken = [
  'create table "first" ("id" integer)',
  'create table "second" ("id" integer)',
  'create table "third" ("id" integer references "nowhere"("id"))',
]

const appOf = (i: number, apps: readonly FastifyInstance[]) => apps[i % apps.length] as FastifyInstance

const failureOf = (work: Promise<unknown>): Promise<Error> =>
  work.then(
    () => new Error('it did not fail'),
    (error: Error) => error,
  )

describeWith(['postgres18'], 'registration', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const started = async (migrations?: string, options = {}): Promise<FastifyInstance> => {
    const app = await tenantApp(database, { ...options, ...(migrations !== undefined && { migrations }) })
    app.get('/names', async () => (await db().execute(sql`select name from items order by id`)).rows)
    await app.ready()
    onTestFinished(() => app.close())
    return app
  }
  const rows = <T extends object>(text: string, values: unknown[] = []) =>
    asSuperuser(database, async (client) => (await client.query<T>(text, values)).rows)
  const schemas = async () =>
    (
      await rows<{ name: string }>(
        `select nspname as name from pg_namespace where nspname ~ '^t[0-9a-z]{25}$' order by 1`,
      )
    ).map(({ name }) => name)
  const tenantRows = async (identifier: string) =>
    rows<{ status: string; namespace: string }>('select status, namespace from tenancy.tenants where identifier = $1', [
      identifier,
    ])

  it('[W3] leaves nothing behind when a migration fails, and names file and statement', async () => {
    const folder = await migrationsOf(itemsMigration, broken)
    const app = await started(folder)
    const before = await schemas()
    for (const verb of ['register', 'ensure'] as const) {
      const failure = await failureOf(app.tenancy[verb]({ identifier: 'broken-one' }))
      expect(failure).toMatchObject({ code: 'TENANCY_ERR_MIGRATION_FAILED' })
      expect(failure.message).toContain('_step/migration.sql failed at statement 3: ')
      expect(failure.message).toContain('20260101000002_step')
      expect(await schemas()).toEqual(before)
      expect(await tenantRows('broken-one')).toEqual([])
    }
    expect((await app.inject({ url: '/names', headers: as('broken-one') })).statusCode).toBe(400)
    const fixed = await started(await migrationsOf(itemsMigration))
    expect(await fixed.tenancy.register({ identifier: 'broken-one' })).toMatchObject({ status: 'active', version: 2 })
    expect((await fixed.inject({ url: '/names', headers: as('broken-one') })).json()).toEqual([])
  })

  it('[W70] leaves nothing behind when the database fails for a reason of its own, and tells it as the cause', async () => {
    const app = await started(await migrationsOf(itemsMigration))
    const before = await schemas()
    const create = (verb: 'grant' | 'revoke', to: 'to' | 'from') =>
      rows(`${verb} create on database "${database.database}" ${to} "${database.ownerRole}"`)
    await create('revoke', 'from')
    onTestFinished(() => void create('grant', 'to'))
    for (const verb of ['register', 'ensure'] as const) {
      expect(await failureOf(app.tenancy[verb]({ identifier: 'hindered' }))).toMatchObject({
        code: 'TENANCY_ERR_PROVISION_FAILED',
        statusCode: 500,
        cause: expect.objectContaining({ code: '42501' }) as Error,
      })
      expect(await schemas()).toEqual(before)
      expect(await tenantRows('hindered')).toEqual([])
    }
    await create('grant', 'to')
    expect(await app.tenancy.register({ identifier: 'hindered' })).toMatchObject({ status: 'active' })
  })

  it('leaves nothing behind when a statement of a migration is refused', async () => {
    const app = await started(
      await migrationsOf(itemsMigration, ['create table ok ("id" integer)', 'drop schema "tenancy" cascade']),
    )
    const before = await schemas()
    const failure = await failureOf(app.tenancy.register({ identifier: 'refused-one' }))
    expect(failure).toMatchObject({ code: 'TENANCY_ERR_MIGRATION_REFUSED' })
    expect(failure.message).toContain('20260101000002_step/migration.sql was refused at statement 2: ')
    expect(await schemas()).toEqual(before)
    expect(await tenantRows('refused-one')).toEqual([])
  })

  it('[W3] six times at once makes one tenant: one wins, five are told that it exists', async () => {
    const folder = await migrationsOf(itemsMigration)
    const apps = await Promise.all([started(folder), started(folder)])
    const before = await schemas()
    const results = await Promise.allSettled(
      Array.from({ length: 6 }, (_, i) => appOf(i, apps).tenancy.register({ identifier: 'contested' })),
    )
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
    expect(failures.length).toBe(5)
    for (const failure of failures) expect(failure).toMatchObject({ code: 'TENANCY_ERR_TENANT_EXISTS' })
    expect((await schemas()).length).toBe(before.length + 1)
    expect(await tenantRows('contested')).toMatchObject([{ status: 'active' }])
  })

  it('[W49] six times at once as ensure() gives all the same tenant', async () => {
    const folder = await migrationsOf(itemsMigration)
    const apps = await Promise.all([started(folder), started(folder), started(folder)])
    for (let round = 0; round < 5; round++) {
      const before = await schemas()
      const tenants = await Promise.all(
        Array.from({ length: 6 }, (_, i) => appOf(i, apps).tenancy.ensure({ identifier: `shared-${round}` })),
      )
      expect(new Set(tenants.map((tenant) => tenant.id)).size).toBe(1)
      expect(tenants.map((tenant) => tenant.status)).toEqual(Array.from({ length: 6 }, () => 'active'))
      expect((await schemas()).length).toBe(before.length + 1)
    }
  })

  it('is not undone or failed by an ensure() that finishes the tenant first', async () => {
    const { store, make } = service()
    const [reached, go] = [gate(), gate()]
    const slow = make({
      ...store,
      async setStatus(id, to) {
        reached.open()
        await go.passed
        return store.setStatus(id, to)
      },
    })
    await store.initialize()
    const registered = slow.register({ identifier: 'overtaken' })
    await reached.passed
    const ensured = await make(store).ensure({ identifier: 'overtaken' })
    expect(ensured.status).toBe('active')
    go.open()
    expect(await registered).toMatchObject({ id: ensured.id, status: 'active' })
  })

  it('refuses a field that is none, and says which was meant', async () => {
    const app = await started()
    for (const verb of ['register', 'ensure'] as const) {
      const misspelt = { identifier: 'acme', stratgy: 'schema' } as never
      await expect(app.tenancy[verb](misspelt)).rejects.toMatchObject({
        code: 'TENANCY_ERR_TENANT_INVALID',
        message: expect.stringContaining('"stratgy" is no field of a registration; did you mean strategy?') as string,
      })
    }
    const other = app.tenancy.register({ identifier: 'acme', owner: 1 } as never)
    await expect(other).rejects.toThrow('fields are identifier, name, metadata, strategy, server, rowKey')
  })

  it('[W4] never adopts a schema that it did not make', async () => {
    const { store, make, server } = service()
    await store.initialize()
    const strategy = namespaceStrategy('schema')
    const registration = make({
      ...store,
      async insert(tenant) {
        // Somebody else has a schema of the generated name, with data in it.
        await rows(`create schema "${tenant.placement.namespace}"`)
        await rows(`create table "${tenant.placement.namespace}".theirs (n integer)`)
        return store.insert(tenant)
      },
    })
    const before = await schemas()
    await expect(registration.register({ identifier: 'squatted' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_NAMESPACE_EXISTS',
    })
    const theirs = (await schemas()).filter((name) => !before.includes(name))
    expect(theirs.length).toBe(1)
    expect(await rows(`select * from "${theirs[0]}".theirs`)).toEqual([])
    expect(await tenantRows('squatted')).toEqual([])
    await rows(`drop schema "${theirs[0]}" cascade`)

    // Made by us, but for another tenant.
    const other = await make(store).register({ identifier: 'first-owner' })
    const thief = make(store, { ...strategy, place: () => other.placement })
    await expect(thief.register({ identifier: 'thief' })).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_EXISTS' })
    const scope = { ...strategy.scope(other), tenantId: '00000000-0000-4000-8000-000000000000' }
    await expect(server.inNamespace(scope, (session) => session.ensure())).rejects.toMatchObject({
      code: 'TENANCY_ERR_NAMESPACE_EXISTS',
    })
  })

  it('ensure() applies what is pending to a tenant that exists, suspended ones too, and keeps its data', async () => {
    const folder = await migrationsOf(itemsMigration)
    const app = await started(folder)
    const made = await app.tenancy.ensure({ identifier: 'grows' })
    await app.tenancy.ensure({ identifier: 'sleeps' })
    await app.tenancy.run('grows', () => add('kept'))
    await app.tenancy.suspend('sleeps')
    await addMigrations(folder, 2, ['alter table "items" add column "price" integer default 7'])

    const next = await started(folder)
    expect(await next.tenancy.ensure({ identifier: 'grows' })).toEqual(made)
    expect(await next.tenancy.ensure({ identifier: 'grows' })).toEqual(made)
    expect(await next.tenancy.ensure({ identifier: 'sleeps' })).toMatchObject({ status: 'suspended' })
    await next.tenancy.activate('sleeps')
    const prices = (identifier: string) =>
      next.tenancy.run(identifier, async () => (await db().execute(sql`select price from items`)).rows)
    expect(await prices('grows')).toEqual([{ price: 7 }])
    expect(await prices('sleeps')).toEqual([])
    expect(await namesIn(next, 'grows')).toEqual(['kept'])
  })

  it('refuses to bring back a deleted tenant, by either verb', async () => {
    const app = await started(await migrationsOf(itemsMigration))
    await app.tenancy.register({ identifier: 'over' })
    await app.tenancy.delete('over')
    await expect(app.tenancy.ensure({ identifier: 'over' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_STATUS_TRANSITION',
    })
    await expect(app.tenancy.register({ identifier: 'over' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_EXISTS',
    })
  })

  it('has the configured status at the end, name and metadata as given, and refuses bad input before any SQL', async () => {
    const app = await started(undefined, { defaultTenantStatus: 'suspended' })
    const metadata = { plan: 'gold' }
    const tenant = await app.tenancy.register({ identifier: 'quiet', name: 'Quiet Ltd', metadata })
    expect(tenant).toMatchObject({ status: 'suspended', name: 'Quiet Ltd', metadata, version: 2 })
    const before = await schemas()
    for (const identifier of ['www', 'Ab', 'a', 'a'.repeat(64), 'a b c', 'a--', 'abc\n']) {
      for (const verb of ['register', 'ensure'] as const) {
        await expect(app.tenancy[verb]({ identifier }), identifier).rejects.toMatchObject({
          code: 'TENANCY_ERR_IDENTIFIER_INVALID',
        })
      }
    }
    await expect(app.tenancy.register({ identifier: 'good', name: '' })).rejects.toMatchObject({
      code: 'TENANCY_ERR_TENANT_INVALID',
    })
    expect(await schemas()).toEqual(before)
  })

  /** The parts under the plugin, so that one step can be held up. */
  function service() {
    const server: DatabaseServer = testServer(database)
    const opened = server.open()
    onTestFinished(() => server.close())
    const inner = createDrizzlePostgresTenantStore({ admin: server.admin, drizzle: server.drizzle })
    const store: TenantStore = { ...inner, initialize: async () => opened.then(() => inner.initialize()) }
    const make = (on: TenantStore, strategy = namespaceStrategy('schema')): RegistrationService =>
      createRegistration({
        store: on,
        strategy,
        server,
        migrations: [],
        reserved: new Set(),
        metadata: { check() {} },
        initialStatus: 'active',
      })
    return { store, make, server }
  }
})
