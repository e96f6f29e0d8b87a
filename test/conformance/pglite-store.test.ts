import { PGlite } from '@electric-sql/pglite'
import { drizzle } from 'drizzle-orm/pglite'
import { afterAll, beforeAll } from 'vitest'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'
import { dropSchema, pgliteAdmin, uniqueSchema } from './registry-store-fixtures.ts'
import { describeTenantStore } from './store.ts'

let pglite: PGlite
beforeAll(async () => {
  pglite = await PGlite.create()
})
afterAll(() => pglite.close())

describeTenantStore('Drizzle on PGlite', async () => {
  const schema = uniqueSchema()
  const admin = pgliteAdmin(pglite)
  const open = () =>
    createDrizzlePostgresTenantStore({ admin, drizzle: (client) => drizzle({ client: client as PGlite }), schema })
  return { open, drop: () => dropSchema(admin, schema) }
})
