import { createClient } from '@libsql/client'
import Better from 'better-sqlite3'
import { eq, sql } from 'drizzle-orm'
import { drizzle as drizzleBetter } from 'drizzle-orm/better-sqlite3'
import { drizzle as drizzleLibsql } from 'drizzle-orm/libsql'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import type { Scope } from '../../src/contracts/isolation.ts'
import { layoutOf } from '../../src/dialects/sqlite/layout.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { open, placedScope } from '../support/database.ts'
import type { BenchCell } from './isolation-cell.ts'
import { at, ROWS } from './notes.ts'
import { createBetterSqlite3Server, createLibsqlServer } from './product.ts'

const columns = () => ({ id: integer('id').primaryKey(), body: text('body').notNull() })
const notes = sqliteTable('notes', columns())
const statements = ['CREATE TABLE `notes` (`id` integer PRIMARY KEY NOT NULL, `body` text NOT NULL)']
const migrations = [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements }]

/** As many as there are tenants: none is closed and opened again. */
const MAX_FILES = 50

const strategies = (['prefix', 'database'] as const).map(namespaceStrategy)

/** A package that opens the files, and what an app without tenancy does with it. */
interface Driver {
  readonly name: string
  readonly createServer: typeof createLibsqlServer
  drizzle(client: object): ReturnType<typeof drizzleLibsql>
  connect(file: string): { close(): unknown }
}

const drivers: readonly Driver[] = [
  {
    name: '',
    createServer: createLibsqlServer,
    drizzle: (client) => drizzleLibsql({ client: client as never }),
    connect: (file) => createClient({ url: `file:${file}` }),
  },
  {
    name: ' with better-sqlite3',
    createServer: createBetterSqlite3Server,
    // Its queries can be awaited too.
    drizzle: (client) => drizzleBetter({ client }) as never,
    connect: (file) => new (Better as new (path: string) => { close(): unknown })(file),
  },
]

/** Each strategy by each package. */
export const sqliteCells = drivers.flatMap((driver) => strategies.map((strategy) => ({ driver, strategy })))

async function serverOn(folder: string, { createServer }: Driver) {
  const server = createServer({
    url: `file:${join(folder, 'app.db')}`,
    tenantFolder: undefined,
    maxOpenFiles: MAX_FILES,
    poolTimeout: 60,
    onStatement: undefined,
  })
  await server.open()
  return server
}

/**
 * Makes that many tenants of one strategy and their rows, in a folder of their own: two copies of SQLite in one process know nothing of each
 * other's locks, and would ruin a file.
 */
export async function sqliteCell(
  parent: string,
  { driver, strategy }: (typeof sqliteCells)[number],
  tenants: number,
): Promise<BenchCell> {
  adoptTables({ notes })
  const folder = await mkdtemp(join(parent, 'sqlite-'))
  const server = await serverOn(folder, driver)
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
    return { file, table: `${naming.prefix}notes` }
  })
  for (const [i, { file, table }] of places.entries()) {
    const client = driver.connect(file)
    await driver
      .drizzle(client)
      .run(
        sql.raw(
          `insert into "${table}" with recursive n(n) as (select 1 union all select n + 1 from n where n < ${ROWS}) select n, '${at(scopes, i).tenantId}' from n`,
        ),
      )
    client.close()
  }
  const tables = places.map(({ table }) => sqliteTable(table, columns()))

  return {
    name: `${strategy.name} on SQLite${driver.name}`,
    bar: { most: 1.1 },
    tenants: scopes.map(({ tenantId }) => tenantId),
    async connect() {
      const tenancy = await serverOn(folder, driver)
      const clients = new Map([...new Set(places.map(({ file }) => file))].map((file) => [file, driver.connect(file)]))
      const plain = places.map(({ file }) => driver.drizzle(clients.get(file) as object))
      const scoped = scopes.map((scope) => driver.drizzle(tenancy.client(scope, open)))
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
