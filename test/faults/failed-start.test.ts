import { spawn } from 'node:child_process'
import { rename } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { createMemoryTenantStore, type TenancyOptions } from '../../src/index.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { itemsMigration, migrationsOf, until } from './fixture.ts'

const script = fileURLToPath(new URL('failed-start-process.ts', import.meta.url))
const FOLDER = 'TENANCY_ERR_MIGRATIONS_FOLDER'

describeWith(['postgres18', 'redis'], 'a start that failed and that nobody closes', ({ postgres18, redis }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  /** What a process wrote that failed to start, once it has ended by itself. */
  async function processWith(options: TenancyOptions, pluginTimeout = 10_000): Promise<string> {
    const child = spawn(process.execPath, ['--import', 'tsx', script], {
      env: { PATH: process.env['PATH'], OPTIONS: JSON.stringify(options), PLUGIN_TIMEOUT: String(pluginTimeout) },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    let written = ''
    child.stdout.on('data', (chunk: Buffer) => (written += chunk.toString()))
    const ended = new Promise<string>((resolve) => child.on('close', (code) => resolve(`${written}, exit ${code}`)))
    return Promise.race([ended, sleep(20_000).then(() => `${written}, still there`)])
  }
  const backends = () =>
    asSuperuser(database, async (client) => {
      const { rows } = await client.query<{ count: number }>(
        'select count(*)::int from pg_stat_activity where usename in ($1, $2)',
        [database.appRole, database.ownerRole],
      )
      return rows[0]?.count ?? -1
    })
  const urls = () => ({ databaseUrl: database.appUrl, adminDatabaseUrl: database.adminUrl })

  it('does not keep its process, whatever was open by then', async () => {
    const late = { ...urls(), migrations: '/nowhere' }
    expect(await processWith(late)).toBe(`${FOLDER}, exit 0`)
    const withRedis = { redisUrl: redis.url, cacheEnabled: true, changeChannel: 'redis' } as const
    expect(await processWith({ ...late, ...withRedis })).toBe(`${FOLDER}, exit 0`)
  }, 60_000)

  it('does not keep its process when it took too long', async () => {
    const sockets = new Set<Socket>()
    const silent = createServer((socket) => void sockets.add(socket.on('error', () => {})))
    await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done))
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      silent.close()
    })
    const { port } = silent.address() as { port: number }
    const options = { ...urls(), databaseUrl: withPort(database.appUrl, port) }
    expect(await processWith(options, 1000)).toBe('TENANCY_ERR_START_TIMEOUT, exit 0')
  }, 30_000)

  it('leaves no connection, and is followed by one that works', async () => {
    const folder = await migrationsOf(itemsMigration)
    const app = await tenantApp(database, { migrations: `${folder}-later`, changeChannel: 'listen' })
    onTestFinished(() => app.close())
    const held = app.tenancy
    await expect(Promise.resolve(app.ready())).rejects.toMatchObject({ code: FOLDER })
    await until(async () => (await backends()) === 0)
    await expect(held.list()).rejects.toMatchObject({ code: 'TENANCY_ERR_CLOSED' })
    await rename(folder, `${folder}-later`)
    expect(await app.tenancy.ensure({ identifier: 'acme' })).toMatchObject({ status: 'active' })
    expect(await app.tenancy.run('acme', ({ identifier }) => identifier)).toBe('acme')
    await app.close()
    expect(await backends()).toBe(0)
  })
  it('leaves the user’s own store open, for other apps and the next start', async () => {
    const folder = await migrationsOf(itemsMigration)
    let closings = 0
    const tenantStore = { ...createMemoryTenantStore(), close: async () => void closings++ }
    const app = await tenantApp(database, { migrations: `${folder}-later`, tenantStore })
    onTestFinished(() => app.close())
    await expect(Promise.resolve(app.ready())).rejects.toMatchObject({ code: FOLDER })
    await until(async () => (await backends()) === 0)
    expect(closings).toBe(0)
    await rename(folder, `${folder}-later`)
    expect(await app.tenancy.ensure({ identifier: 'keeps-its-store' })).toMatchObject({ status: 'active' })
    await app.close()
    expect(closings).toBe(1)
  })
})
