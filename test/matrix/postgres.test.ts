import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePglite } from 'drizzle-orm/pglite'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { IsolationStrategy } from '../../src/contracts/isolation.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase, sharedSchemas, testServer } from '../support/database.ts'
import type { Book, Cell, Db, OpenCell, Runner } from './cell.ts'
import * as plain from './models/postgres.ts'
import * as shared from './models/postgres-rls.ts'
import { matrixSuite } from './suite.ts'

const strategies: readonly IsolationStrategy[] = [namespaceStrategy('schema')]

function cellOf(engine: string, strategy: IsolationStrategy, openServer: () => Promise<Opened>): Cell {
  return {
    name: `${strategy.name} on ${engine}`,
    strategy,
    unqualified: strategy.name === 'prefix' ? 'nobody' : 'own',
    returning: true,
    async open() {
      const { server, over, close } = await openServer()
      return openCell(strategy, { server, over, close })
    },
  }
}

interface Opened {
  readonly server: DatabaseServer
  readonly over: (client: object) => Db
  close(): Promise<void>
}

function openCell(strategy: IsolationStrategy, { server, over, close }: Opened): OpenCell {
  const byRows = strategy.name === 'rls'
  const { authors, books, cheapBooks, statements } = (byRows ? shared : plain) as typeof plain
  // Adopted or not: in every other cell of PostgreSQL both work.
  adoptTables({ authors, books, cheapBooks })
  const target = byRows ? [shared.books.tenantId, shared.books.id] : [books.id]
  return {
    server,
    model: { authors, books, cheapBooks },
    statements,
    drizzle: over,
    rows: async (db, query) => (await db.execute(query)).rows,
    upsert: (db: Runner, book: Book) =>
      db
        .insert(books)
        .values(book)
        .onConflictDoUpdate({ target: target as never, set: { title: book.title, price: book.price } }),
    close,
  }
}

for (const name of ['postgres15', 'postgres18'] as const) {
  describeWith([name], name, (servers) => {
    for (const strategy of strategies) {
      const openServer = async (): Promise<Opened> => {
        const database = await baselineDatabase(servers[name].url)
        const server = testServer(database, { poolSize: 2 })
        await server.open()
        return {
          server,
          over: (client) => drizzle({ client: client as never }) as unknown as Db,
          close: async () => {
            await server.close()
            await database.drop()
          },
        }
      }
      matrixSuite(cellOf(name, strategy, openServer))
    }
  })
}

for (const strategy of strategies.filter(({ name }) => name !== 'database')) {
  const openServer = async (): Promise<Opened> => {
    const server = createPgliteServer({
      folder: undefined,
      registrySchema: 'tenancy',
      shared: sharedSchemas,
      poolTimeout: 60,
      onStatement: undefined,
    })
    await server.open()
    return {
      server,
      over: (client) => drizzlePglite({ client: client as never }) as unknown as Db,
      close: () => server.close(),
    }
  }
  matrixSuite(cellOf('PGlite', strategy, openServer))
}
