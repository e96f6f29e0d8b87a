import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { TenancyOptions } from '../../src/index.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { type Proxy, startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'
import { mysqlDatabase, type MysqlDatabase } from '../support/mysql.ts'
import { refusedAfter, startProcess, warm } from './changes-processes.ts'

let tenants = 0
const newName = (): string => `tenant-${++tenants}`

/** What every channel must hold. */
function describeChanges(options: () => TenancyOptions): void {
  const two = async () => {
    const [writer, reader] = await Promise.all([startProcess(options()), startProcess(options())])
    const name = newName()
    await writer.run('register', name)
    await warm(reader, name)
    return { writer, reader, name }
  }

  it('[W40] refuses within a second what another process suspended or deleted, and serves it again when it is active', async () => {
    const { writer, reader, name } = await two()
    for (let round = 0; round < 3; round++) {
      const since = performance.now()
      await writer.run('suspend', name)
      expect(await refusedAfter(reader, name, since)).toBeLessThan(1000)
      await writer.run('activate', name)
      await sleep(1000)
      await warm(reader, name)
    }
    const since = performance.now()
    await writer.run('delete', name)
    expect(await refusedAfter(reader, name, since)).toBeLessThan(1000)
  })

  it('[W40] forgets an identifier that was given up, and finds a new one that was nobody’s', async () => {
    const { writer, reader, name } = await two()
    const [other, fresh] = [newName(), newName()]
    for (const nobody of [other, fresh]) expect((await reader.who(nobody)).status).toBe(400)
    await writer.run('rename', name, other)
    await sleep(1000)
    expect((await reader.who(name)).status).toBe(400)
    await warm(reader, other)
    await writer.run('register', fresh)
    await sleep(1000)
    const [old, heir] = [await reader.who(other), await reader.who(fresh)]
    expect(JSON.parse(heir.body)).toMatchObject({ identifier: fresh })
    expect(JSON.parse(heir.body)).not.toMatchObject({ id: (JSON.parse(old.body) as { id: string }).id })
  })
}

describeWith(['postgres18', 'redis'], 'changes across processes', ({ postgres18, redis }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres18.url)
  })
  afterAll(() => database?.drop())

  const options = (change: TenancyOptions = {}): TenancyOptions => ({
    databaseUrl: database.appUrl,
    adminDatabaseUrl: database.adminUrl,
    redisUrl: redis.url,
    databasePoolSize: 2,
    ...change,
  })
  const byHand = (name: string, status: string) =>
    asSuperuser(database, (client) =>
      client.query('update tenancy.tenants set status = $2 where identifier = $1', [name, status]),
    )
  const reader = async (change: TenancyOptions) => {
    const one = await startProcess(options(change))
    const name = newName()
    await one.run('register', name)
    await warm(one, name)
    await sleep(500)
    return { one, name }
  }

  describe('with LISTEN', () => {
    describeChanges(() => options({ changeChannel: 'listen' }))

    it('[W40] takes the database from who holds it', async () => {
      const { one, name } = await reader({})
      const writer = await startProcess(options())
      await one.run('keep', name)
      expect(await one.run('use', name)).toBe('served')
      await writer.run('suspend', name)
      await sleep(1000)
      await expect(one.run('use', name)).rejects.toThrow('TENANCY_ERR_TENANT_REVOKED')
      await writer.run('activate', name)
      await sleep(1000)
      expect(await one.run('use', name)).toBe('served')
    })

    it('sees what is written by hand, and at once', async () => {
      const { one, name } = await reader({ changeChannel: 'listen' })
      await byHand(name, 'suspended')
      expect(await refusedAfter(one, name)).toBeLessThan(1000)
      await byHand(name, 'active')
      await sleep(300)
      await warm(one, name)
      await asSuperuser(database, (client) => client.query('delete from tenancy.tenants where identifier = $1', [name]))
      expect(await refusedAfter(one, name)).toBeLessThan(1000)
    })

    it('sees a commit that comes late', async () => {
      const { one, name } = await reader({ changeChannel: 'listen' })
      await asSuperuser(database, async (client) => {
        await client.query('begin')
        await client.query(`update tenancy.tenants set status = 'suspended' where identifier = $1`, [name])
        await sleep(1000)
        expect((await one.who(name)).status).toBe(200)
        await client.query('commit')
      })
      expect(await refusedAfter(one, name)).toBeLessThan(1000)
    })
  })

  describe('with LISTEN through a proxy', () => {
    let proxy: Proxy
    beforeAll(async () => {
      proxy = await startProxy({ target: postgres18.port })
    })
    afterAll(() => proxy?.stop())

    it.each(['sever', 'freeze'] as const)(
      '[W40] refuses within a second when the connections %s',
      async (what) => {
        const { one, name } = await reader({ adminDatabaseUrl: withPort(database.adminUrl, proxy.port) })
        for (let round = 0; round < 3; round++) {
          proxy[what]()
          const since = performance.now()
          await byHand(name, 'suspended')
          expect(await refusedAfter(one, name, since)).toBeLessThan(1000)
          await byHand(name, 'active')
          // Connections that hang are taken for 5 s.
          await sleep(what === 'freeze' ? 6500 : 3500)
          await warm(one, name)
        }
      },
      60_000,
    )

    it('serves from L1 while the registry is away, and has caught up a second after it is back', async () => {
      const { one, name } = await reader({ adminDatabaseUrl: withPort(database.adminUrl, proxy.port) })
      onTestFinished(() => proxy.refuse(false))
      proxy.refuse(true)
      proxy.sever()
      await byHand(name, 'suspended')
      await sleep(4000)
      expect((await one.who(name)).status).toBe(200)
      expect(await one.run('warnings')).toContainEqual(expect.stringContaining('The registry does not answer'))
      proxy.refuse(false)
      expect(await refusedAfter(one, name)).toBeLessThan(1000)
      await sleep(1500)
      expect(await one.run('warnings')).toContainEqual('The registry answers again.')
    })
  })

  describe('with Redis', () => {
    describeChanges(() => options({ changeChannel: 'redis' }))

    it('[W40] is not told by a sender that died after its commit, and still refuses within a second', async () => {
      const { one, name } = await reader({ changeChannel: 'redis' })
      const { id } = JSON.parse((await one.who(name)).body) as { id: string }
      const client = new Redis(redis.url)
      onTestFinished(() => client.disconnect())
      await client.publish('tenancy:changes', id)
      await sleep(500)
      await warm(one, name)
      await byHand(name, 'suspended')
      expect(await refusedAfter(one, name)).toBeLessThan(1000)
    })

    it('believes no message: a forged one costs a read and nothing else', async () => {
      const { one, name } = await reader({ changeChannel: 'redis' })
      const { id } = JSON.parse((await one.who(name)).body) as { id: string }
      const client = new Redis(redis.url)
      onTestFinished(() => client.disconnect())
      for (const message of [id, '', 'x'.repeat(100_000), `${id} suspended`, '{"id":1}', '\0']) {
        await client.publish('tenancy:changes', message)
      }
      await sleep(200)
      await warm(one, name)
    })

    it('[W40] refuses within a second when the connections to Redis freeze, or are cut', async () => {
      const proxy = await startProxy({ target: redis.port })
      onTestFinished(() => proxy.stop())
      const writer = await startProcess(options({ changeChannel: 'redis' }))
      const { one, name } = await reader({ changeChannel: 'redis', redisUrl: withPort(redis.url, proxy.port) })
      for (const what of ['freeze', 'sever', 'freeze'] as const) {
        proxy[what]()
        const since = performance.now()
        await writer.run('suspend', name)
        expect(await refusedAfter(one, name, since)).toBeLessThan(1000)
        await writer.run('activate', name)
        await sleep(3500)
        await warm(one, name)
      }
    })
  })

  describe('with the poll', () => {
    describeChanges(() => options({ changeChannel: 'poll' }))

    it('[W40] catches up with more than one read holds', async () => {
      const { one, name } = await reader({ changeChannel: 'poll' })
      await asSuperuser(database, async (client) => {
        await client.query(
          `insert into tenancy.tenants (id, identifier, name, name_folded, status, strategy, server, namespace, row_key, row_key_canonical)
            select id, 'bulk-' || id, 'x', 'x', 'active', 'schema', 'main', 't' || replace(id::text, '-', ''), id, id
              from (select gen_random_uuid() as id from generate_series(1, 1600)) ids`,
        )
        await client.query(
          `update tenancy.tenants set status = 'suspended' where identifier = $1 or identifier like 'bulk-%'`,
          [name],
        )
      })
      expect(await refusedAfter(one, name)).toBeLessThan(1000)
    })
  })
})

describeWith(['postgres15', 'pgbouncer15'], 'LISTEN behind a pooler', ({ postgres15, pgbouncer15 }) => {
  it('[W40] is not believed: the registry is asked instead', async () => {
    const database = await baselineDatabase(postgres15.url)
    onTestFinished(() => database.drop())
    const common = { databaseUrl: database.appUrl, databasePoolSize: 2 }
    const writer = await startProcess({ ...common, adminDatabaseUrl: database.adminUrl })
    const reader = await startProcess({
      ...common,
      adminDatabaseUrl: withPort(database.adminUrl, pgbouncer15.port),
      changeChannel: 'listen',
    })
    await writer.run('register', 'acme')
    await warm(reader, 'acme')
    await sleep(4500)
    expect(await reader.run('warnings')).toContainEqual(expect.stringContaining('The channel for changes does not'))
    const since = performance.now()
    await writer.run('suspend', 'acme')
    expect(await refusedAfter(reader, 'acme', since)).toBeLessThan(1000)
  })
})

describeWith(['mariadb', 'redis'], 'changes across processes on MariaDB', ({ mariadb, redis }) => {
  let database: MysqlDatabase
  beforeAll(async () => {
    database = await mysqlDatabase(mariadb.url)
  })
  afterAll(() => database?.drop())
  const common = () => ({ databaseUrl: database.url, adminDatabaseUrl: database.adminUrl, databasePoolSize: 2 })

  describe('with the poll', () => describeChanges(common))
  describe('with Redis', () => describeChanges(() => ({ ...common(), redisUrl: redis.url })))
})

describe('changes across processes on SQLite', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'tenancy-changes-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  describeChanges(() => ({ databaseUrl: `file:${join(folder, 'app.db')}`, isolationStrategy: 'database' }))
})
