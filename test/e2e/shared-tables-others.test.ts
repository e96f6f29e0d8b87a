import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eq } from 'drizzle-orm'
import { drizzle as libsqlDrizzle } from 'drizzle-orm/libsql'
import { drizzle as mysqlDrizzle } from 'drizzle-orm/mysql2'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, describe, expect, it } from 'vitest'
import tenancy, { getTenantDb, type TenancyOptions } from '../../src/index.ts'
import { describeWith } from '../servers/suite.ts'
import { mysqlModel, sharedStatements, sqliteModel, statements } from '../shared/models.ts'
import { as } from '../support/app.ts'
import { asRoot, mysqlDatabase } from '../support/mysql.ts'

type Db = ReturnType<typeof libsqlDrizzle>
type Model = ReturnType<typeof sqliteModel>

const folder = mkdtempSync(join(tmpdir(), 'tenancy-shared-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function migrations(name: string, texts: readonly string[]): string {
  const path = join(folder, name)
  mkdirSync(join(path, 'meta'), { recursive: true })
  writeFileSync(join(path, 'meta/_journal.json'), '{"entries":[{"tag":"0000","when":1}]}')
  writeFileSync(join(path, '0000.sql'), texts.join('--> statement-breakpoint\n'))
  return path
}

const db = () => getTenantDb() as Db

/** Two tenants read and write what is shared, and one goes. */
async function serves(schema: Model, engine: 'mysql' | 'sqlite', options: TenancyOptions): Promise<void> {
  const app = Fastify() as unknown as FastifyInstance
  const { plans, tags, subscriptions } = schema
  await app.register(tenancy, {
    schema,
    sharedTables: ['plans', 'tags'],
    sharedWritable: ['tags'],
    sharedMigrations: migrations(`${engine}-shared`, sharedStatements[engine]),
    migrations: migrations(`${engine}-own`, statements[engine]),
    ...options,
  })
  app.post('/subscriptions/:plan', async (request) => {
    const { plan } = request.params as { plan: string }
    await db()
      .insert(subscriptions)
      .values({ id: 1, planId: Number(plan) })
  })
  app.get('/subscriptions', async () => {
    const joined = db()
      .select({ plan: plans.name })
      .from(subscriptions)
      .innerJoin(plans, eq(subscriptions.planId, plans.id))
    return (await joined).map(({ plan }) => plan)
  })
  app.put('/plans', async () => db().update(plans).set({ name: 'mine' }))
  app.post('/tags', { config: { tenancy: { transaction: true } } }, async () => {
    await db().insert(tags).values({ label: 'blue' })
  })
  app.get('/tags', async () => (await db().select().from(tags)).map(({ label }) => label))
  const send = (tenant: string, method: 'GET' | 'POST' | 'PUT', url: string) =>
    app.inject({ method, url, headers: as(tenant) })
  const read = async (tenant: string, url: string) => (await send(tenant, 'GET', url)).json<unknown>()
  try {
    await app.tenancy.register({ identifier: 'one' })
    await app.tenancy.register({ identifier: 'two' })
    expect((await send('one', 'POST', '/subscriptions/1')).statusCode).toBe(200)
    expect((await send('two', 'POST', '/subscriptions/2')).statusCode).toBe(200)
    expect((await send('two', 'POST', '/subscriptions/7')).statusCode).toBe(500)
    expect((await send('two', 'PUT', '/plans')).statusCode).toBe(500)
    expect((await send('one', 'POST', '/tags')).statusCode).toBe(200)
    expect(await read('two', '/tags')).toEqual(['blue'])
    const admin = (await app.tenancy.adminDb()) as Db
    await admin.update(plans).set({ name: 'PRO' }).where(eq(plans.id, 2))
    expect(await read('one', '/subscriptions')).toEqual(['free'])
    expect(await read('two', '/subscriptions')).toEqual(['PRO'])
    await app.tenancy.delete('one')
    await app.tenancy.purge('one')
    expect(await read('two', '/subscriptions')).toEqual(['PRO'])
  } finally {
    await app.close()
  }
}

describeWith(['mariadb'], 'shared tables in an app on MariaDB', ({ mariadb }) => {
  it.each(['schema', 'database', 'prefix'] as const)('%s', async (isolationStrategy) => {
    const database = await mysqlDatabase(mariadb.url)
    const sharedSchema = `t_${database.database}`
    try {
      await serves(mysqlModel() as never, 'mysql', {
        isolationStrategy,
        databaseUrl: database.url,
        adminDatabaseUrl: database.adminUrl,
        registrySchema: `t_registry_${database.database.slice(-6)}`,
        sharedSchema,
        drizzle: (client) => mysqlDrizzle({ client }),
      })
    } finally {
      await asRoot(database.superUrl, ['set foreign_key_checks = 0', `drop database if exists ${sharedSchema}`])
      await database.drop()
    }
  })
})

describe('shared tables in an app on SQLite', () => {
  const file = (name: string) => ({
    databaseUrl: `file:${join(folder, `${name}.db`)}`,
    drizzle: ((client) => libsqlDrizzle({ client })) as TenancyOptions['drizzle'],
  })

  it.each(['prefix', 'schema'] as const)('%s', async (isolationStrategy) => {
    await serves(sqliteModel(), 'sqlite', { isolationStrategy, ...file(isolationStrategy) })
  })

  it('files of tenants cannot reach them, and the start says so', async () => {
    const options = { isolationStrategy: 'database', ...file('own') } as const
    await expect(serves(sqliteModel(), 'sqlite', options)).rejects.toMatchObject({
      code: 'TENANCY_ERR_CONFIG_INVALID',
      message: expect.stringContaining('`database` cannot reach') as string,
    })
  })
})
