/*
 * Registers the tenant `TENANT` and stops for ever at the step `STOP_AT`, after telling its parent, who kills it there.
 * Started by process-killed.test.ts.
 */
import { createPgServer } from '../../src/dialects/postgres/drivers/pg-server.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { createRegistration } from '../../src/lifecycle/registration.ts'
import { readMigrations } from '../../src/migrations/reader.ts'
import { createDrizzlePostgresTenantStore } from '../../src/tenants/drizzle-postgres-store.ts'

const { APP_URL = '', ADMIN_URL = '', MIGRATIONS = '', TENANT = '', STOP_AT } = process.env

const server = createPgServer({
  url: APP_URL,
  adminUrl: ADMIN_URL,
  pooled: false,
  strategies: ['schema'],
  poolSize: 2,
  maxOverflow: 0,
  poolTimeout: 5,
  poolRecycle: 3600,
  registrySchema: 'tenancy',
  shared: { extensionsSchema: 'extensions', rlsSchema: 'rls', prefixSchema: 'prefixed', tenantColumn: 'tenant_id' },
  onStatement: undefined,
})
const store = createDrizzlePostgresTenantStore({ admin: server.admin, drizzle: server.drizzle })

async function stopAt(step: string): Promise<void> {
  if (step !== STOP_AT) return
  process.send?.('reached')
  await new Promise(() => {})
}

await server.open()
await store.initialize()
await createRegistration({
  store: {
    ...store,
    async setStatus(id, to) {
      await stopAt('status')
      return store.setStatus(id, to)
    },
  },
  server: {
    ...server,
    async inNamespace(scope, work) {
      await stopAt('namespace')
      return server.inNamespace(scope, async (session) => {
        const result = await work(session)
        await stopAt('commit')
        return result
      })
    },
  },
  strategy: namespaceStrategy('schema'),
  migrations: await readMigrations(MIGRATIONS),
  reserved: new Set(),
  metadata: { check() {} },
  initialStatus: 'active',
}).register({ identifier: TENANT })
