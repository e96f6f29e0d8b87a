import { createClient } from '@libsql/client'
import { eq } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/libsql'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { join } from 'node:path'
import type { Scope } from '../../src/contracts/isolation.ts'
import { layoutOf } from '../../src/dialects/sqlite/layout.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { open, placedScope } from '../support/database.ts'
import type { BenchCell } from './isolation-cell.ts'
import { at, ROWS } from './notes.ts'
import { createLibsqlServer } from './product.ts'

const columns = () => ({ id: integer('id').primaryKey(), body: text('body').notNull() })
const notes = sqliteTable('notes', columns())
const statements = ['CREATE TABLE `notes` (`id` integer PRIMARY KEY NOT NULL, `body` text NOT NULL)']
const migrations = [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements }]

/** As many as there are tenants: none is closed and opened again. */
const MAX_FILES = 50

export const sqliteStrategies = (['prefix', 'database'] as const).map(namespaceStrategy)

async function serverOn(folder: string) {
  const server = createLibsqlServer({
    url: `file:${join(folder, 'app.db')}`,
    tenantFolder: undefined,
    maxOpenFiles: MAX_FILES,
    poolTimeout: 60,
    onStatement: undefined,
  })
  await server.open()
  return server
}

/** Makes that many tenants of one strategy and their rows, in a folder of their own. */
export async function sqliteCell(
  folder: string,
  strategy: (typeof sqliteStrategies)[number],
  tenants: number,
): Promise<BenchCell> {
  adoptTables({ notes })
  const server = await serverOn(folder)
  const scopes: Scope[] = []
  for (let i = 0; i < tenants; i++) {
    const scope = placedScope(strategy)
    await migrateNamespace({ server, scope, migrations })
    scopes.push(scope)
  }
  await server.close()
  const places = scopes.map(({ namespace }, i) => {
    const { own, naming } = layoutOf(at(scopes, i))
    const file = own ? join(folder, 'app.db.tenants', `${namespace}.db`) : join(folder, 'app.db')
    return { url: `file:${file}`, table: `${naming.prefix}notes` }
  })
  for (const [i, { url, table }] of places.entries()) {
    const client = createClient({ url })
    await client.execute(
      `insert into "${table}" with recursive n(n) as (select 1 union all select n + 1 from n where n < ${ROWS}) select n, '${at(scopes, i).tenantId}' from n`,
    )
    client.close()
  }
  const tables = places.map(({ table }) => sqliteTable(table, columns()))

  return {
    name: `${strategy.name} on SQLite`,
    bar: { most: 1.1 },
    tenants: scopes.map(({ tenantId }) => tenantId),
    async connect() {
      const tenancy = await serverOn(folder)
      const clients = new Map([...new Set(places.map(({ url }) => url))].map((url) => [url, createClient({ url })]))
      const plain = places.map(({ url }) => drizzle({ client: clients.get(url) as ReturnType<typeof createClient> }))
      const scoped = scopes.map((scope) => drizzle({ client: tenancy.client(scope, open) as never }))
      return {
        plain: async (tenant, id) => {
          const table = at(tables, tenant)
          return at(plain, tenant).select().from(table).where(eq(table.id, id))
        },
        scoped: async (tenant, id) => at(scoped, tenant).select().from(notes).where(eq(notes.id, id)),
        async close() {
          await tenancy.close()
          for (const client of clients.values()) client.close()
        },
      }
    },
  }
}
