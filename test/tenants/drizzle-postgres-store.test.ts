import { PGlite } from '@electric-sql/pglite'
import { drizzle } from 'drizzle-orm/pglite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AdminConnection } from '../../src/contracts/dialect.ts'
import { tenancyError } from '../../src/errors.ts'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import { registryMigrations } from '../../src/tenants/registry-migrations.ts'
import { pgliteAdmin } from '../conformance/registry-store-fixtures.ts'
import { newTenant } from '../conformance/store.ts'

// What every store does is in test/conformance/store.ts.
describe('createDrizzlePostgresTenantStore', () => {
  let pglite: PGlite
  beforeAll(async () => {
    pglite = await PGlite.create()
  })
  afterAll(() => pglite.close())

  it('takes a database that is opened later, makes Drizzle once, and closes nothing', async () => {
    let opened = false
    let made = 0
    const admin: AdminConnection = {
      ...pgliteAdmin(pglite),
      get client() {
        if (!opened) throw tenancyError('TENANCY_ERR_NOT_STARTED')
        return pglite
      },
    }
    const store = createDrizzlePostgresTenantStore({
      admin,
      drizzle: (client) => {
        made++
        return drizzle({ client: client as PGlite })
      },
    })
    for (const call of [() => store.count(), () => store.count()]) {
      await expect(call()).rejects.toMatchObject({ code: 'TENANCY_ERR_NOT_STARTED' })
    }
    opened = true
    await store.initialize()
    expect(await Promise.all([store.count(), store.count()])).toEqual([0, 0])
    expect(made).toBe(1)
    await store.close()
    expect(await store.count()).toBe(0)
  })

  it('gives the tenants of an older registry their ids as row keys, without losing one', async () => {
    const admin = pgliteAdmin(pglite)
    const [first] = registryMigrations('old')
    await admin.query('create schema old')
    await admin.query('create table old.registry_migrations (name text primary key, applied_at timestamptz)')
    for (const statement of first?.statements ?? []) await admin.query(statement as string)
    await admin.query('insert into old.registry_migrations values ($1, now())', [first?.name])
    const ids = ['00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-00000000000b']
    for (const id of ids) {
      const values = [id, `t-${id.at(-1)}`, `t${id.at(-1)}`]
      await admin.query(
        `insert into old.tenants (id, identifier, name, status, strategy, server, namespace) values ($1, $2, 'Old', 'purged', 'rls', 'main', $3)`,
        values,
      )
    }
    const drizzled = (client: object) => drizzle({ client: client as PGlite })
    const open = () => createDrizzlePostgresTenantStore({ admin, drizzle: drizzled, schema: 'old' })
    await Promise.all([open().initialize(), open().initialize()])
    const store = open()
    for (const id of ids) {
      expect(await store.getById(id)).toMatchObject({ name: 'Old', version: 1, placement: { rowKey: id } })
      const thief = newTenant({ rowKey: id.toUpperCase() })
      await expect(store.insert(thief)).rejects.toMatchObject({ code: 'TENANCY_ERR_TENANT_EXISTS' })
    }
    expect(await store.count()).toBe(2)
    expect((await store.list({ search: 'OLD' })).tenants.map(({ id }) => id)).toEqual(ids.toReversed())
  })
})
