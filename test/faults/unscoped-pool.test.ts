import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import type { TenancyOptions } from '../../src/index.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { type PlainDb, plainDrizzle, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase, testServer } from '../support/database.ts'
import { running, until } from './fixture.ts'

/** With a limit an insert is a transaction, which Drizzle begins on a connection that it takes itself. */
const LIMITED: TenancyOptions = { maxTenants: 100, databasePoolTimeout: 2, closeTimeoutSeconds: 2 }

describeWith(['postgres18'], 'connections that Drizzle takes itself', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const started = async (options: TenancyOptions = {}): Promise<FastifyInstance> => {
    const app = await tenantApp(database, { ...LIMITED, ...options })
    await app.ready()
    onTestFinished(() => app.close())
    await app.tenancy.ensure({ identifier: 'acme' })
    return app
  }
  const registryOf = (app: FastifyInstance) => app.tenancy.getMetrics().pools['registry']
  /** All three connections of the registry are used, last for an insert that failed. */
  const useAll = async (app: FastifyInstance) => {
    const registrations = Array.from({ length: 6 }, () => app.tenancy.register({ identifier: 'acme' }))
    for (const { status } of await Promise.allSettled(registrations)) expect(status).toBe('rejected')
    expect(registryOf(app)).toMatchObject({ total: 3, idle: 3 })
  }

  it('leave their places to others when they were closed', async () => {
    const server = testServer(database, { poolRecycle: 1 })
    await server.open()
    onTestFinished(() => server.close())
    const registry = plainDrizzle(server.registry.connection.client as never)
    const slow = Array.from({ length: 3 }, () =>
      registry.transaction((inner) => inner.execute(sql`select pg_sleep(0.5)`)),
    )
    await Promise.all(slow)
    expect(server.stats()['registry']).toMatchObject({ total: 3 })
    await until(() => server.stats()['registry']?.idle === 0)
    expect(server.stats()['registry']).toMatchObject({ total: 0 })
    await registry.execute(sql`select 1`)
  })

  it('are asked before a transaction begins: one that hangs costs 5 s, and not the registry', async () => {
    const proxy = await startProxy({ target: postgres18.port })
    onTestFinished(() => proxy.stop())
    const app = await started({ adminDatabaseUrl: withPort(database.adminUrl, proxy.port) })
    await useAll(app)
    proxy.freeze()
    const registrations = Array.from({ length: 3 }, () => app.tenancy.register({ identifier: 'acme' }))
    const answers = await Promise.allSettled(registrations)
    for (const answer of answers) expect(answer).toMatchObject({ reason: { code: 'TENANCY_ERR_STORE_UNAVAILABLE' } })
    await app.tenancy.suspend('acme')
    await app.tenancy.activate('acme')
  })

  it('may die at any moment: neither the process ends nor the pool', async () => {
    const app = await started()
    const admin = (await app.tenancy.adminDb()) as PlainDb
    const kill = `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${database.ownerRole}'`
    const killAll = () => asSuperuser(database, (client) => client.query(kill))
    for (let n = 0; n < 5; n++) {
      const begun = expect(admin.transaction((inner) => inner.execute(sql`select pg_sleep(10)`))).rejects.toThrow()
      await running({ ...database, appRole: database.ownerRole }, 'pg_sleep(10)')
      await killAll()
      await begun
    }
    const end = performance.now() + 2000
    const registering = Array.from({ length: 4 }, async () => {
      while (performance.now() < end) await app.tenancy.register({ identifier: 'acme' }).catch(() => {})
    })
    while (performance.now() < end) await killAll()
    await Promise.all(registering)
    await until(() =>
      app.tenancy.ensure({ identifier: 'globex' }).then(
        () => true,
        () => false,
      ),
    )
    const [one] = (await admin.transaction((inner) => inner.execute(sql`select 1 as one`))).rows
    expect(one).toEqual({ one: 1 })
    await useAll(app)
  })
})
