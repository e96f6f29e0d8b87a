import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { getTenant } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { mysqlRegistry } from '../../src/tenants/mysql-registry.ts'
import { startMariadb } from '../servers/mariadb.ts'
import { type RunningPostgres, startPostgres } from '../servers/postgres.ts'
import { describeWith } from '../servers/suite.ts'
import { as, type PlainDb, tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { asRoot, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { db, until } from './fixture.ts'

/** A registry that went on from an older state, and whose counter has come as far as before: the number says nothing. */
describeWith(['postgres18'], 'a registry that has lost changes', () => {
  let server: RunningPostgres
  beforeAll(async () => {
    server = await startPostgres({ version: 18 })
  })
  afterAll(() => server?.stop())

  const start = async (database: TestDatabase, changeChannel: 'listen' | 'poll') => {
    const app = await tenantApp(database, { changeChannel })
    onTestFinished(() => app.close())
    app.get('/who', async () => getTenant().identifier)
    await app.ready()
    const status = async (identifier: string) => (await app.inject({ url: '/who', headers: as(identifier) })).statusCode
    const kept = new Map<string, PlainDb>()
    for (const identifier of ['acme', 'beta', 'gamma']) {
      await app.tenancy.ensure({ identifier })
      await app.tenancy.run(identifier, () => void kept.set(identifier, db()))
    }
    const use = async (identifier: string) => kept.get(identifier)?.execute(sql`select 1`)
    await until(async () => (await status('acme')) === 200)
    return { app, status, use }
  }
  const set = (database: TestDatabase, identifier: string, status: string) =>
    asSuperuser(database, (client) =>
      client.query('update tenancy.tenants set status = $2 where identifier = $1', [identifier, status]),
    )
  const revoked = { cause: { code: 'TENANCY_ERR_TENANT_REVOKED' } }

  it.each(['listen', 'poll'] as const)(
    'by a failover is read anew: who is suspended there is refused, who is not is served (%s)',
    async (changeChannel) => {
      const database = await baselineDatabase(server.url)
      const { app, status, use } = await start(database, changeChannel)
      const [data, replica] = [join(server.folder, 'data'), join(server.folder, 'replica')]
      await server.kill()
      execFileSync('cp', ['-a', data, replica])
      await server.restart()
      await until(async () => (await app.tenancy.health()).ok)
      // The restart is heard of meanwhile, and a verb that it overtakes answers 503, done or not.
      await until(async () => {
        await app.tenancy.suspend('acme').catch(() => {})
        return (await app.tenancy.get('acme').catch(() => undefined))?.status === 'suspended'
      })
      await until(
        () =>
          use('acme').then(
            () => false,
            () => true,
          ),
        1,
      )
      await expect(use('acme')).rejects.toMatchObject(revoked)
      await sleep(1000)
      await app.tenancy.run('beta', () => {})

      await server.kill()
      execFileSync('rm', ['-rf', data])
      execFileSync('mv', [replica, data])
      await server.restart()
      await set(database, 'beta', 'suspended')
      await until(async () => (await app.tenancy.health()).ok)
      await sleep(3000)
      expect(await status('beta')).toBe(403)
      expect(await status('acme')).toBe(200)
      await expect(use('beta')).rejects.toMatchObject(revoked)
      await use('acme')
      expect(await status('gamma')).toBe(200)

      // And what comes then is heard at once.
      await set(database, 'acme', 'suspended')
      await until(async () => (await status('acme')) === 403, 1)
    },
    60_000,
  )

  it('by a restored dump is read anew, and heard of under its own name', async () => {
    const database = await baselineDatabase(server.url)
    onTestFinished(() => database.drop())
    const { app, status, use } = await start(database, 'listen')
    const copy = (from: string, to: string) =>
      asSuperuser(database, async (client) => {
        await client.query(`drop schema if exists ${to} cascade; create schema ${to}`)
        for (const table of ['tenants', 'change_counter']) {
          await client.query(`create table ${to}.${table} as table ${from}.${table}`)
        }
      })
    await copy('tenancy', 'dump')
    await app.tenancy.suspend('acme')
    await asSuperuser(database, async (client) => {
      await client.query(`begin; alter table tenancy.change_counter rename to gone;
        create table tenancy.change_counter as table dump.change_counter;
        alter table tenancy.change_counter owner to ${database.ownerRole};
        update tenancy.change_counter set channel = 'tenancy_another';
        alter table tenancy.tenants disable trigger user;
        update tenancy.tenants t set status = d.status, version = d.version, change_number = d.change_number
          from dump.tenants d where d.id = t.id;
        alter table tenancy.tenants enable trigger user;
        update tenancy.tenants set status = 'suspended' where identifier = 'beta'; commit`)
    })
    await until(async () => (await status('beta')) === 403, 6)
    await until(async () => (await status('acme')) === 200, 1)
    await until(() => use('acme').then(Boolean, () => false), 1)
    await expect(use('beta')).rejects.toMatchObject(revoked)
    expect(await status('gamma')).toBe(200)
    // Until the feed looks seldom again.
    await sleep(4500)
    await set(database, 'gamma', 'suspended')
    await until(async () => (await status('gamma')) === 403, 1)
  }, 30_000)
})

describeWith(['mariadb'], 'a registry on MariaDB', () => {
  it('is another one on another server of the same data', async () => {
    const running = await startMariadb()
    onTestFinished(() => running.stop())
    const server = mysqlServer(await mysqlDatabase(running.url))
    await server.open()
    onTestFinished(() => server.close())
    const store = createLockingTenantStore(server.registry.connection, mysqlRegistry('tenancy'))
    await store.initialize()
    const { position } = (await store.changes?.()) ?? expect.fail()
    expect(await store.changes?.(position)).toMatchObject({ reset: false })
    await asRoot(running.url, ['set global server_id = 4711'])
    expect(await store.changes?.(position)).toMatchObject({ reset: true })
  })
})
