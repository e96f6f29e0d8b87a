import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import { createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { mssqlRegistry } from '../../src/tenants/mssql-registry.ts'
import { uniquePrefix } from '../cache/shared.ts'
import { describeWith } from '../servers/suite.ts'
import { describeMssql, type MssqlDatabase, mssqlDatabase, mssqlServer } from '../support/mssql.ts'
import { behindRedis } from './shared-store.ts'
import { describeTenantStore, newTenant } from './store.ts'

describeMssql('the registry on SQL Server', (url) => {
  let database: MssqlDatabase
  let server: DatabaseServer
  /** As another process has it. */
  let other: DatabaseServer
  beforeAll(async () => {
    database = await mssqlDatabase(url)
    // Some tests write a thousand times at once.
    server = mssqlServer(database, { poolTimeout: 60 })
    other = mssqlServer(database, { poolTimeout: 60 })
    await Promise.all([server.open(), other.open()])
  })
  afterAll(async () => {
    await server?.close()
    await other?.close()
    await database?.drop()
  })
  const schemaName = () => `tenancy q ${randomBytes(5).toString('hex')}`
  /** Two processes by turns. */
  const openIn = (schema: string) => {
    let opened = 0
    const next = () => (opened++ % 2 === 0 ? server : other).registry.connection
    return () => createLockingTenantStore(next(), mssqlRegistry(schema))
  }

  describeTenantStore('SQL Server', async () => ({ open: openIn(schemaName()), drop: async () => {} }))

  describeTenantStore('cached SQL Server', async () => {
    const open = openIn(schemaName())
    const cache = () => createTenantCache({ maxSize: 100, ttlSeconds: 60 })
    return { open: () => createCachedTenantStore({ store: open(), cache: cache() }), drop: async () => {} }
  })

  describeWith(['redis'], 'with Redis', ({ redis }) => {
    describeTenantStore('SQL Server behind L1 and L2', async () => {
      const open = openIn(schemaName())
      const prefix = uniquePrefix()
      return { open: () => behindRedis(open(), redis.url, prefix), drop: async () => {} }
    })
  })

  describe('its schema', () => {
    it('is upgraded in place, and a newer one is left alone', async () => {
      const schema = schemaName()
      const store = openIn(schema)()
      await store.initialize()
      const tenant = await store.insert(newTenant())
      const { query } = server.registry.connection
      // As the first release left it.
      await query(`drop table [${schema}].hot_tenants`)
      await query(`delete from [${schema}].registry_migrations where step > 1`)
      await Promise.all([store.initialize(), openIn(schema)().initialize()])
      expect(await store.getById(tenant.id)).toEqual(tenant)
      await store.noteHotTenants?.([tenant.id])
      expect(await store.hotTenants?.()).toEqual([tenant.id])

      await query(`insert into [${schema}].registry_migrations (step) values (1000)`)
      await store.initialize()
      expect(await store.getById(tenant.id)).toEqual(tenant)
    })

    it('that somebody else made is not taken', async () => {
      const schema = schemaName()
      await server.admin.query(`create schema [${schema}]`)
      await server.admin.query(`create table [${schema}].tenants (id int)`)
      await expect(openIn(schema)().initialize()).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
      expect(await server.admin.query(`select * from [${schema}].tenants`)).toEqual([])
    })

    it('takes nothing that is no JSON', async () => {
      const schema = schemaName()
      const store = openIn(schema)()
      await store.initialize()
      const { id } = await store.insert(newTenant())
      const update = server.admin.query(`update [${schema}].tenants set metadata = N'{oops' where id = @p0`, [id])
      await expect(update).rejects.toThrow()
    })
  })

  it('gives a row up that is held too long, instead of waiting for ever', { timeout: 60_000 }, async () => {
    const schema = schemaName()
    const store = openIn(schema)()
    await store.initialize()
    const { id } = await store.insert(newTenant())
    await server.admin.transaction(async (query) => {
      await query(`update [${schema}].change_counter set last = last + 1`)
      const started = performance.now()
      await expect(store.update(id, { name: 'Late' })).rejects.toMatchObject({ code: 'TENANCY_ERR_STORE_UNAVAILABLE' })
      expect(performance.now() - started).toBeGreaterThan(4000)
    })
    expect(await store.update(id, { name: 'Now' })).toMatchObject({ name: 'Now', version: 2 })
  })
})
