import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { getTenant } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { as, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { add, itemsMigration, migrationsOf, namesIn } from './fixture.ts'

const script = fileURLToPath(new URL('registering-process.ts', import.meta.url))

describeWith(['postgres18'], 'a process killed while it registers a tenant', ({ postgres18 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const dieAt = async (step: string, tenant: string, migrations: string): Promise<void> => {
    const child = fork(script, {
      execArgv: ['--import', 'tsx'],
      env: {
        PATH: process.env['PATH'],
        APP_URL: database.appUrl,
        ADMIN_URL: database.adminUrl,
        MIGRATIONS: migrations,
        TENANT: tenant,
        STOP_AT: step,
      },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    let trouble = ''
    child.stderr?.on('data', (chunk) => (trouble += String(chunk)))
    const exited = new Promise((resolve) => child.once('exit', resolve))
    const reached = new Promise((resolve) => child.once('message', resolve))
    expect(await Promise.race([reached, exited.then(() => trouble)])).toBe('reached')
    child.kill('SIGKILL')
    await exited
  }

  it.each(['namespace', 'commit', 'status'])(
    '[W38] before its %s leaves a tenant that nobody is served as, until ensure() finishes it',
    async (step) => {
      const tenant = `dies-at-${step}`
      const migrations = await migrationsOf(itemsMigration)
      await dieAt(step, tenant, migrations)

      const app = await tenantApp(database, { migrations })
      onTestFinished(() => app.close())
      app.get('/who', async () => getTenant().identifier)
      await app.ready()
      const unknown = await app.inject({ url: '/who', headers: as('nobody-at-all') })
      const halfMade = await app.inject({ url: '/who', headers: as(tenant) })
      expect([halfMade.statusCode, halfMade.body]).toEqual([unknown.statusCode, unknown.body])
      await expect(app.tenancy.run(tenant, () => 'served')).rejects.toMatchObject({
        code: 'TENANCY_ERR_TENANT_UNKNOWN',
      })
      const before = await app.tenancy.get(tenant)
      expect(before).toMatchObject({ status: 'provisioning', version: 1 })
      await expect(app.tenancy.register({ identifier: tenant })).rejects.toMatchObject({
        code: 'TENANCY_ERR_TENANT_EXISTS',
      })

      expect(await app.tenancy.ensure({ identifier: tenant })).toEqual({
        ...before,
        status: 'active',
        version: 2,
        updatedAt: expect.any(String) as string,
      })
      expect((await app.inject({ url: '/who', headers: as(tenant) })).body).toBe(tenant)
      await app.tenancy.run(tenant, () => add('one'))
      expect(await namesIn(app, tenant)).toEqual(['one'])
      const made = await asSuperuser(database, (client) =>
        client.query('select from pg_namespace where nspname = $1', [before?.placement.namespace]),
      )
      expect(made.rowCount).toBe(1)
    },
  )
})
