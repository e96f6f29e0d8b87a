import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { expect, it } from 'vitest'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { type TestDatabase, withPort } from '../servers/database.ts'
import { startProxy } from '../servers/proxy.ts'
import { describeWith } from '../servers/suite.ts'
import { rightsFor } from '../matrix/postgres-cells.ts'
import { baselineDatabase, open, placedScope, sharedSchemas, testServer } from '../support/database.ts'

const statements = ['CREATE TABLE "items" ("tenant_id" uuid, "id" integer NOT NULL)']
const migrations = [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements }]

describeWith(['postgres18'], 'network turns on PostgreSQL', ({ postgres18 }) => {
  const cells = [
    { name: 'schema', strategy: namespaceStrategy('schema'), options: {} },
    { name: 'schema, tenantRoles', strategy: namespaceStrategy('schema'), options: { tenantRoles: true } },
    {
      name: 'schema, qualified',
      strategy: namespaceStrategy('schema'),
      options: { schemaScoping: 'qualified' as const },
    },
    { name: 'rls', strategy: rlsStrategy(), options: {} },
    { name: 'prefix', strategy: namespaceStrategy('prefix'), options: {} },
  ]
  it.each(cells)(
    '[W56] one scoped statement is one turn, a transaction is three: $name',
    async ({ strategy, options }) => {
      const database: TestDatabase = await baselineDatabase(postgres18.url, rightsFor(options))
      const scope = placedScope(strategy)
      const proxy = await startProxy({ target: postgres18.port, delayMs: 1 })
      const server = testServer(database, {
        url: withPort(database.appUrl, proxy.port),
        poolSize: 1,
        shared: { ...sharedSchemas, ...options },
      })
      await server.open()
      await migrateNamespace({ server, scope, migrations })
      const db = drizzle({ client: server.client(scope, open) as never })
      const read = sql.raw('select count(*) from "__tenant__"."items"')
      await db.execute(read)
      proxy.resetCounters()
      for (let i = 0; i < 5; i++) await db.execute(read)
      expect(proxy.turns).toBe(5)
      proxy.resetCounters()
      await db.transaction((tx) => tx.execute(read))
      expect(proxy.turns).toBe(3)
      await server.close()
      await proxy.stop()
      await database.drop()
    },
  )
})
