import { PGlite } from '@electric-sql/pglite'
import { drizzle } from 'drizzle-orm/pglite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AdminConnection } from '../../src/contracts/dialect.ts'
import { tenancyError } from '../../src/errors.ts'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import { pgliteAdmin } from '../conformance/registry-store-fixtures.ts'

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
})
