import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drizzle as drizzleLibsql, type LibSQLDatabase } from 'drizzle-orm/libsql'
import type { IsolationStrategy } from '../../src/contracts/isolation.ts'
import { createBetterSqlite3Server } from '../../src/dialects/sqlite/drivers/better-sqlite3-server.ts'
import { createLibsqlServer } from '../../src/dialects/sqlite/drivers/libsql-server.ts'
import type { SqliteServerOptions } from '../../src/dialects/sqlite/server.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { rowsOf } from '../support/sqlite-rows.ts'
import type { Cell, Db, RelationalDb } from './cell.ts'
import type { Model } from './models/model.ts'
import * as plain from './models/sqlite.ts'
import { relationsOf } from './relations.ts'

/** What SQLite carries. */
export const sqliteStrategies: readonly IsolationStrategy[] = [
  namespaceStrategy('database'),
  namespaceStrategy('prefix'),
]

/** A strategy on SQLite files of its own. */
export function sqliteCell(strategy: IsolationStrategy, options: Partial<SqliteServerOptions> = {}): Cell {
  return {
    ...cellOf(strategy, options, { createServer: createLibsqlServer, drizzle: async () => drizzleLibsql }),
    name: `${strategy.name} on SQLite`,
    features: ['returning', 'update from', 'relational', 'relational one', 'batch'],
  }
}

/** The same with better-sqlite3. */
export function betterSqlite3Cell(strategy: IsolationStrategy, options: Partial<SqliteServerOptions> = {}): Cell {
  const driver = {
    createServer: createBetterSqlite3Server,
    drizzle: async () => (await import('drizzle-orm/better-sqlite3')).drizzle as unknown as typeof drizzleLibsql,
  }
  return {
    ...cellOf(strategy, options, driver),
    name: `${strategy.name} on SQLite with better-sqlite3`,
    features: ['returning', 'update from', 'relational', 'relational one', 'synchronous'],
  }
}

interface Driver {
  readonly createServer: typeof createLibsqlServer
  readonly drizzle: () => Promise<typeof drizzleLibsql>
}

function cellOf(
  strategy: IsolationStrategy,
  options: Partial<SqliteServerOptions>,
  driver: Driver,
): Pick<Cell, 'strategy' | 'unqualified' | 'open'> {
  return {
    strategy,
    unqualified: strategy.name === 'prefix' ? 'nobody' : 'own',
    async open() {
      const folder = mkdtempSync(join(tmpdir(), 'tenancy-sqlite-'))
      const drizzle = await driver.drizzle()
      const server = driver.createServer({
        url: `file:${join(folder, 'app.db')}`,
        tenantFolder: undefined,
        maxOpenFiles: 20,
        poolTimeout: 20,
        onStatement: undefined,
        ...options,
      })
      await server.open()
      const { authors, books, cheapBooks, statements } = plain
      adoptTables({ authors, books, cheapBooks })
      const model = { authors, books, cheapBooks } as unknown as Model
      const native = (db: unknown) => db as LibSQLDatabase
      return {
        server,
        place: folder,
        model,
        statements,
        drizzle: (client) => drizzle({ client: client as never }) as unknown as Db,
        relational: (client) => drizzle({ client: client as never, ...relationsOf(model) }) as unknown as RelationalDb,
        rows: (db, query) => rowsOf(native(db), query),
        upsert: (db, book) =>
          native(db)
            .insert(books)
            .values(book)
            .onConflictDoUpdate({ target: books.id, set: { title: book.title, price: book.price } }),
        async close() {
          await server.close()
          rmSync(folder, { recursive: true, force: true })
        },
      }
    },
  }
}
