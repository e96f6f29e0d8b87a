import { eq } from 'drizzle-orm'
import { int, mysqlSchema, mysqlTable, varchar } from 'drizzle-orm/mysql-core'
import { drizzle } from 'drizzle-orm/mysql2'
import mysql from 'mysql2/promise'
import type { Scope } from '../../src/contracts/isolation.ts'
import { layoutOf } from '../../src/dialects/mysql/layout.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { withPort } from '../servers/database.ts'
import { open, placedScope } from '../support/database.ts'
import { asRoot, type MysqlDatabase } from '../support/mysql.ts'
import type { BenchCell } from './isolation-cell.ts'
import { at, ROWS } from './notes.ts'
import { createMysqlServer } from './product.ts'

const columns = () => ({ id: int('id').primaryKey(), body: varchar('body', { length: 100 }).notNull() })
const notes = mysqlTable('notes', columns())
const statements = ['CREATE TABLE `notes` (`id` int NOT NULL, `body` varchar(100) NOT NULL, PRIMARY KEY(`id`))']
const migrations = [{ name: 'm', file: 'm.sql', hash: 'm', createdAt: 1, statements }]

const POOL = 4
export const mysqlStrategies = (['schema', 'database', 'prefix'] as const).map(namespaceStrategy)

async function serverOn({ url, adminUrl }: MysqlDatabase, port?: number) {
  const server = createMysqlServer({
    url: port === undefined ? url : withPort(url, port),
    adminUrl,
    registrySchema: 'tenancy',
    poolSize: POOL,
    maxOverflow: 0,
    poolTimeout: 60,
    poolRecycle: 3600,
    strategies: ['schema', 'database', 'prefix'],
    onStatement: undefined,
  })
  await server.open()
  return server
}

/** Makes that many tenants of one strategy and their rows. */
export async function mysqlCell(
  database: MysqlDatabase,
  strategy: (typeof mysqlStrategies)[number],
  tenants: number,
): Promise<BenchCell> {
  adoptTables({ notes })
  const server = await serverOn(database)
  const scopes: Scope[] = []
  for (let i = 0; i < tenants; i++) {
    const scope = placedScope(strategy)
    await migrateNamespace({ server, scope, migrations })
    scopes.push(scope)
  }
  await server.close()
  const places = scopes.map((scope) => layoutOf(scope, database.database))
  await asRoot(
    database.superUrl,
    places.map(
      (place, i) =>
        `insert into \`${place.database}\`.\`${place.naming.prefix}notes\` select seq, '${at(scopes, i).tenantId}' from \`${place.database}\`.seq_1_to_${ROWS}`,
    ),
  )
  const tables = places.map((place) => mysqlSchema(place.database).table(`${place.naming.prefix}notes`, columns()))

  return {
    name: `${strategy.name} on MariaDB`,
    bar: { most: 1.1 },
    tenants: scopes.map(({ tenantId }) => tenantId),
    port: Number(new URL(database.url).port),
    async connect(port) {
      const tenancy = await serverOn(database, port)
      const pool = mysql.createPool({ uri: database.url, connectionLimit: POOL })
      const plain = drizzle({ client: pool })
      const scoped = scopes.map((scope) => drizzle({ client: tenancy.client(scope, open) as never }))
      return {
        plain: (tenant, id) => {
          const table = at(tables, tenant)
          return plain.select().from(table).where(eq(table.id, id))
        },
        scoped: (tenant, id) => at(scoped, tenant).select().from(notes).where(eq(notes.id, id)),
        close: () => Promise.all([tenancy.close(), pool.end()]),
      }
    },
  }
}
