import { randomBytes } from 'node:crypto'
import { PGlite } from '@electric-sql/pglite'
import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePglite } from 'drizzle-orm/pglite'
import { Pool } from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createTenantCache } from '../../src/cache/tenant-cache.ts'
import type { TenantStore } from '../../src/contracts/store.ts'
import { createCachedTenantStore } from '../../src/tenants/cached-store.ts'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import { createLockingTenantStore } from '../../src/tenants/locking-store.ts'
import { createMemoryTenantStore } from '../../src/tenants/memory-store.ts'
import { mssqlRegistry } from '../../src/tenants/mssql-registry.ts'
import { mysqlRegistry } from '../../src/tenants/mysql-registry.ts'
import { sqliteRegistry } from '../../src/tenants/sqlite-registry.ts'
import type { StoreLimits } from '../../src/tenants/store-limits.ts'
import { describeWith } from '../servers/suite.ts'
import { describeMssql, mssqlDatabase, mssqlServer } from '../support/mssql.ts'
import { asRoot, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { openSqlite } from '../support/sqlite.ts'
import { dropSchema, pgAdmin, pgliteAdmin, uniqueSchema } from './registry-store-fixtures.ts'
import { newTenant } from './store.ts'

/** One registry, and stores on it as two processes would have them. */
interface Fixture {
  readonly stores: readonly TenantStore[]
  drop(): Promise<void>
}

const MOST = 10
const limit = { code: 'TENANCY_ERR_TENANT_LIMIT', statusCode: 409 }

/** What `maxTenants` means, on every registry. */
function describeLimit(name: string, open: (limits: StoreLimits) => Promise<Fixture>): void {
  describe(`maxTenants: ${name}`, () => {
    let fixture: Fixture
    let store: TenantStore
    beforeEach(async () => {
      fixture = await open({ maxTenants: MOST })
      store = fixture.stores[0] as TenantStore
      await Promise.all(fixture.stores.map((each) => each.initialize()))
    })
    afterEach(() => fixture.drop())

    const fill = async (tenants: number) => {
      for (let n = 0; n < tenants; n++) await store.insert(newTenant({ identifier: `tenant-${n}`, status: 'active' }))
    }

    it('holds when more than there is room for are registered at once, and refuses no fewer', async () => {
      await fill(4)
      const inserts = Array.from({ length: 30 }, (_, n) =>
        (fixture.stores[n % fixture.stores.length] as TenantStore).insert(newTenant()),
      )
      const results = await Promise.allSettled(inserts)
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(MOST - 4)
      for (const result of results) if (result.status === 'rejected') expect(result.reason).toMatchObject(limit)
      expect(await store.count()).toBe(MOST)
    })

    it('counts all but those that are purged, and leaves nothing of what it refuses', async () => {
      await fill(MOST - 1)
      const half = await store.insert(newTenant({ identifier: 'half-made' }))
      const late = newTenant({ identifier: 'too-late' })
      await expect(store.insert(late)).rejects.toMatchObject(limit)
      expect([await store.getById(late.id), await store.getByIdentifier('too-late')]).toEqual([undefined, undefined])

      expect(await store.discard(half.id)).toBe(true)
      const gone = await store.insert(newTenant({ identifier: 'going', status: 'active' }))
      for (const status of ['deleted', 'purging'] as const) {
        await store.setStatus(gone.id, status)
        await expect(store.insert(late)).rejects.toMatchObject(limit)
      }
      await store.setStatus(gone.id, 'purged')
      expect(await store.insert(late)).toMatchObject({ id: late.id, identifier: 'too-late', version: 1 })
      await expect(store.insert(newTenant())).rejects.toMatchObject(limit)
    })

    it('says of a tenant that is there already that it is, also when it is full', async () => {
      await fill(MOST)
      await expect(store.insert(newTenant({ identifier: 'tenant-3' }))).rejects.toMatchObject({
        code: 'TENANCY_ERR_TENANT_EXISTS',
      })
    })
  })
}

describeWith(['postgres15', 'postgres18'], 'limits on PostgreSQL', ({ postgres15, postgres18 }) => {
  for (const isolation of ['read committed', 'repeatable read', 'serializable']) {
    describeLimit(`PostgreSQL 15, ${isolation} by default`, async (limits) => {
      const schema = uniqueSchema()
      const options = `-c default_transaction_isolation=${isolation.replace(' ', '\\ ')}`
      const pools = [1, 2].map(() => new Pool({ connectionString: postgres15.url, max: 8, options }))
      const admins = pools.map(pgAdmin)
      return {
        stores: admins.map((admin) =>
          createDrizzlePostgresTenantStore({
            admin,
            drizzle: (client) => drizzle({ client: client as Pool }),
            schema,
            ...limits,
          }),
        ),
        async drop() {
          await dropSchema(admins[0] as (typeof admins)[0], schema)
          await Promise.all(pools.map((pool) => pool.end()))
        },
      }
    })
  }

  describeLimit('cached PostgreSQL 18', async (limits) => {
    const schema = uniqueSchema()
    const pool = new Pool({ connectionString: postgres18.url, max: 8 })
    const admin = pgAdmin(pool)
    const store = createDrizzlePostgresTenantStore({
      admin,
      drizzle: (client) => drizzle({ client: client as Pool }),
      schema,
      ...limits,
    })
    const cached = createCachedTenantStore({ store, cache: createTenantCache({ maxSize: 100, ttlSeconds: 60 }) })
    return {
      stores: [cached],
      async drop() {
        await dropSchema(admin, schema)
        await pool.end()
      },
    }
  })
})

describeLimit('PGlite', async (limits) => {
  const pglite = await PGlite.create()
  const store = createDrizzlePostgresTenantStore({
    admin: pgliteAdmin(pglite),
    drizzle: (client) => drizzlePglite({ client: client as PGlite }),
    ...limits,
  })
  return { stores: [store], drop: () => pglite.close() }
})

describeWith(['mariadb'], 'limits on MariaDB', ({ mariadb }) => {
  describeLimit('MariaDB', async (limits) => {
    const database = await mysqlDatabase(mariadb.url)
    const servers = [mysqlServer(database), mysqlServer(database)]
    await Promise.all(servers.map((server) => server.open()))
    const name = `tenancy_${randomBytes(5).toString('hex')}`
    return {
      stores: servers.map((server) => createLockingTenantStore(server.admin, mysqlRegistry(name), limits)),
      async drop() {
        await Promise.all(servers.map((server) => server.close()))
        await asRoot(database.superUrl, [`drop database if exists ${name}`])
        await database.drop()
      },
    }
  })
})

describeMssql('limits on SQL Server', (url) => {
  describeLimit('SQL Server, two processes', async (limits) => {
    const database = await mssqlDatabase(url)
    const servers = [mssqlServer(database), mssqlServer(database)]
    await Promise.all(servers.map((server) => server.open()))
    return {
      stores: servers.map(({ registry }) =>
        createLockingTenantStore(registry.connection, mssqlRegistry('tenancy'), limits),
      ),
      async drop() {
        await Promise.all(servers.map((server) => server.close()))
        await database.drop()
      },
    }
  })
})

describeLimit('SQLite, two processes on one file', async (limits) => {
  const first = await openSqlite()
  const second = await openSqlite({}, first)
  return {
    stores: [first, second].map(({ server }) => createLockingTenantStore(server.admin, sqliteRegistry, limits)),
    async drop() {
      await second.close()
      await first.close()
    },
  }
})

describeLimit('memory', async (limits) => ({ stores: [createMemoryTenantStore(limits)], drop: async () => {} }))
