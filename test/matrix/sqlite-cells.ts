import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drizzle, type LibSQLDatabase } from 'drizzle-orm/libsql'
import type { IsolationStrategy } from '../../src/contracts/isolation.ts'
import { createLibsqlServer, type LibsqlServerOptions } from '../../src/dialects/sqlite/drivers/libsql-server.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
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
export function sqliteCell(strategy: IsolationStrategy, options: Partial<LibsqlServerOptions> = {}): Cell {
  return {
    name: `${strategy.name} on SQLite`,
    strategy,
    unqualified: strategy.name === 'prefix' ? 'nobody' : 'own',
    features: ['returning', 'update from', 'relational', 'relational one', 'batch'],
    async open() {
      const folder = mkdtempSync(join(tmpdir(), 'tenancy-sqlite-'))
      const server = createLibsqlServer({
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
        rows: (db, query) => native(db).all(query),
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
