import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { int as mssqlInt, mssqlTable } from 'drizzle-orm-v1/mssql-core'
import { drizzle as mysqlDrizzle } from 'drizzle-orm/mysql2'
import { int, mysqlTable } from 'drizzle-orm/mysql-core'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import tenancy, { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { as, optionsFor } from '../support/app.ts'
import { baselineDatabase } from '../support/database.ts'
import { describeMssql, type MssqlDatabase, mssqlDatabase } from '../support/mssql.ts'
import { asRoot, mysqlDatabase, type MysqlDatabase } from '../support/mysql.ts'
import { migrationsOf } from './fixture.ts'

/** Whatever Drizzle it is of. */
interface AnyDb {
  execute(query: unknown): Promise<unknown>
}

interface MssqlDrizzle {
  drizzle(options: { client: object }): object
}

/** The registry is so far away, and takes three look-ups at once: a flood of so many fills it for 2.7 s. */
const REGISTRY_MS = 20
const FLOOD = 400

const db = () => getTenantDb() as unknown as AnyDb
const works = (handle: AnyDb): Promise<boolean> =>
  handle.execute(sql`select 1`).then(
    () => true,
    () => false,
  )
const statusOf = async (app: FastifyInstance, tenant: string): Promise<number> =>
  (await app.inject({ url: '/one', headers: as(tenant) })).statusCode

async function started(options: TenancyOptions): Promise<FastifyInstance> {
  const app = Fastify() as unknown as FastifyInstance
  onTestFinished(() => app.close())
  await app.register(tenancy, { authorize: () => true, databasePoolSize: 2, l1CachePreload: 0, ...options })
  app.get('/one', async () => (await works(db()), 'served'))
  await app.ready()
  return app
}

/** Milliseconds until something that is asked all the time is no longer so; 5000 if it still is then. No answer is none. */
async function over(since: number, isSo: () => Promise<boolean>): Promise<number> {
  while (performance.now() - since < 5000 && (await Promise.race([isSo(), sleep(300, false)]))) await sleep(10)
  return Math.min(5000, performance.now() - since)
}

let tenants = 0

async function expectRefused(writer: FastifyInstance, reader: FastifyInstance): Promise<void> {
  const name = `acme-${++tenants}`
  await writer.tenancy.ensure({ identifier: name })
  expect(await statusOf(reader, name)).toBe(200)
  const held = await reader.tenancy.run(name, db)
  const answers = Array.from({ length: FLOOD }, (_, n) => statusOf(reader, `nobody-${tenants}-${n}`))
  await sleep(100)
  await writer.tenancy.suspend(name)
  const since = performance.now()
  // Who is looked up anew waits behind the flood: not served, and in the end refused.
  const last: Promise<number>[] = []
  const isServed = async () => (await (last[0] = statusOf(reader, name))) === 200
  const [served, holds] = await Promise.all([over(since, isServed), over(since, () => works(held))])
  expect({ served, holds, soon: served < 1000 && holds < 1000 }).toMatchObject({ soon: true })
  expect(await Promise.race([answers.at(-1), sleep(0, 'waits')])).toBe('waits')
  // One that a busy machine did not answer in time may have begun before the news.
  await last[0]
  expect(await statusOf(reader, name)).toBe(403)
  expect(new Set(await Promise.all(answers))).toEqual(new Set([400]))
}

describeWith(['postgres18'], 'a flood of made-up identifiers on PostgreSQL', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  it.each(['poll', 'listen'] as const)('[W40] keeps nobody served who was suspended elsewhere: %s', async (channel) => {
    const proxy = await startProxy({ target: postgres18.port, delayMs: REGISTRY_MS })
    onTestFinished(() => proxy.stop())
    const options = { changeChannel: channel }
    const writer = await started(optionsFor(database, options))
    const adminDatabaseUrl = withPort(database.adminUrl, proxy.port)
    await expectRefused(writer, await started(optionsFor(database, { ...options, adminDatabaseUrl })))
  })
})

describeMssql('a flood of made-up identifiers on SQL Server', (url) => {
  const items = mssqlTable('items', { id: mssqlInt('id') })
  let database: MssqlDatabase
  beforeAll(async () => {
    database = await mssqlDatabase(url)
  })
  afterAll(() => database?.drop())

  it('[W40] keeps nobody served who was suspended elsewhere', async () => {
    // Not at the top: drizzle-orm 0.45 has no such entry.
    const { drizzle } = (await import('drizzle-orm/node-mssql')) as unknown as MssqlDrizzle
    const proxy = await startProxy({ target: Number(new URL(url).port || 1433), delayMs: REGISTRY_MS })
    onTestFinished(() => proxy.stop())
    const options = {
      databaseUrl: database.url,
      adminDatabaseUrl: database.adminUrl,
      schema: { items },
      drizzle: (client: object) => drizzle({ client }),
    }
    const adminDatabaseUrl = withPort(database.adminUrl, proxy.port)
    await expectRefused(await started(options), await started({ ...options, adminDatabaseUrl }))
  })
})

describeWith(['mariadb'], 'the registry on MariaDB', ({ mariadb }) => {
  const items = mysqlTable('items', { id: int('id') })
  let database: MysqlDatabase
  let registrySchema: string
  beforeAll(async () => {
    database = await mysqlDatabase(mariadb.url)
    registrySchema = database.database.replace('shared', 'tenancy')
  })
  afterAll(async () => {
    await asRoot(database.superUrl, [`drop database if exists ${registrySchema}`])
    await database.drop()
  })
  const options = (change: TenancyOptions = {}): TenancyOptions => ({
    databaseUrl: database.url,
    adminDatabaseUrl: database.adminUrl,
    registrySchema,
    changeChannel: 'poll',
    schema: { items },
    drizzle: (client) => mysqlDrizzle({ client }),
    ...change,
  })

  describe('under a flood of made-up identifiers', () => {
    it('[W40] keeps nobody served who was suspended elsewhere', async () => {
      const proxy = await startProxy({ target: mariadb.port, delayMs: REGISTRY_MS })
      onTestFinished(() => proxy.stop())
      const writer = await started(options())
      await expectRefused(writer, await started(options({ adminDatabaseUrl: withPort(database.adminUrl, proxy.port) })))
    })
  })

  it('is reached by other connections when those it has hang: reads and writes cost 5 s each', async () => {
    const proxy = await startProxy({ target: mariadb.port })
    onTestFinished(() => proxy.stop())
    const adminDatabaseUrl = withPort(database.adminUrl, proxy.port)
    const app = await started(options({ adminDatabaseUrl, databasePoolTimeout: 2, closeTimeoutSeconds: 1 }))
    await app.tenancy.ensure({ identifier: 'hung' })
    const three = (ask: (n: number) => Promise<unknown>) => Promise.all([0, 1, 2].map(ask))
    const write = () =>
      app.tenancy.register({ identifier: 'hung' }).catch((error: { statusCode: number }) => error.statusCode)
    for (const [round, ask] of [(n: number) => statusOf(app, `unknown-${n}`), write].entries()) {
      expect(await three((n) => statusOf(app, `nobody-${round}-${n}`))).toEqual([400, 400, 400])
      proxy.freeze()
      expect(await three(ask)).toEqual([503, 503, 503])
      expect(await statusOf(app, `nobody-${round}-3`)).toBe(400)
    }
    await app.tenancy.suspend('hung')
  })

  it('[W40] does not wait for migrations that take long: neither do news, nor tenants that are cold', async () => {
    const create = ['create table `items` (`id` int)']
    const names = Array.from({ length: 5 }, (_, n) => `migrated-${n}`)
    const old = await started(options({ migrations: await migrationsOf(create) }))
    for (const name of [...names, 'cold', 'warm']) await old.tenancy.ensure({ identifier: name })
    const migrations = await migrationsOf(create, ['insert into `items` (`id`) select sleep(3)'])
    const app = await started(options({ migrations }))
    expect(await statusOf(app, 'warm')).toBe(200)

    let migrated = 0
    const migrating = names.map((identifier) => app.tenancy.ensure({ identifier }).finally(() => migrated++))
    await expect.poll(() => app.tenancy.getMetrics().pools['admin'], { timeout: 2000 }).toMatchObject({ idle: 0 })
    await sleep(300)
    await old.tenancy.suspend('warm')
    const since = performance.now()
    const cold = statusOf(app, 'cold').then((status) => ({ status, after: performance.now() - since }))
    const served = await over(since, async () => (await statusOf(app, 'warm')) === 200)
    expect({ soon: served < 1000, served }).toMatchObject({ soon: true })
    const answer = await cold
    expect({ ...answer, soon: answer.after < 1000 }).toMatchObject({ status: 200, soon: true })
    expect(migrated).toBe(0)
    await Promise.all(migrating)
  })
})
