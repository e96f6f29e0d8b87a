import * as orm from 'drizzle-orm'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/mysql2'
import mysql from 'mysql2/promise'
import type { IsolationStrategy } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { codeOf, isChaos } from '../attack/operation.ts'
import { mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import type { Cell, Db, Feature, RelationalDb } from './cell.ts'
import type { Model } from './models/model.ts'
import { authors, books, cheapBooks, statements } from './models/mysql.ts'
import { relationsOf } from './relations.ts'

/** What MySQL and MariaDB carry. */
export const mysqlStrategies: readonly IsolationStrategy[] = [
  namespaceStrategy('schema'),
  namespaceStrategy('database'),
  namespaceStrategy('prefix'),
]

/** What a killed connection or statement leads to, and what InnoDB does to transactions that lock each other out. */
const DISTURBED = new Set(['ER_QUERY_INTERRUPTED', 'ER_LOCK_DEADLOCK', 'ER_LOCK_WAIT_TIMEOUT'])

/** MariaDB knows neither the LATERAL joins of drizzle-orm 1.0 nor what 0.45 writes for one row. */
const relational: readonly Feature[] = 'defineRelations' in orm ? [] : ['relational']

/** A strategy on a MySQL or MariaDB server. */
export function mysqlCell(
  engine: string,
  superuserUrl: string,
  strategy: IsolationStrategy,
  poolSize = 2,
  poolTimeout = 10,
): Cell {
  return {
    name: `${strategy.name} on ${engine}`,
    strategy,
    unqualified: 'nobody',
    features: ['lock', 'isolation level', 'iterator', ...relational],
    async open() {
      const database = await mysqlDatabase(superuserUrl)
      const killer = await mysql.createConnection(database.superUrl)
      // A connection has the limit that its account had when it began.
      await killer.query(`alter user ${database.servingUser}@'%' with max_statement_time 1`)
      const server = mysqlServer(database, { poolSize, poolTimeout })
      await server.open()
      adoptTables({ authors, books, cheapBooks })
      const model = { authors, books, cheapBooks } as unknown as Model
      return {
        server,
        place: database.url,
        model,
        statements,
        drizzle: (client) => drizzle({ client: client as never }) as unknown as Db,
        relational: (client) =>
          drizzle({ client: client as never, mode: 'planetscale', ...relationsOf(model) }) as unknown as RelationalDb,
        rows: async (db, query) => ((await db.execute(query)) as unknown as [Record<string, unknown>[]])[0],
        upsert: (db, { id, title, price, authorId }) =>
          (db as unknown as ReturnType<typeof drizzle>)
            .insert(books)
            .values({ id, title, price, authorId })
            .onDuplicateKeyUpdate({ set: { title, price } }),
        tooLong: (db) => db.execute(sql`select sleep(3)`),
        disturb: () => kill(killer, database.servingUser),
        gaveWay: (error) => codeOf(error) === 'ER_LOCK_DEADLOCK',
        isDisturbance: (error) => isChaos(error) || DISTURBED.has(codeOf(error) ?? '') || isTimeout(error),
        close: async () => {
          await killer.end()
          await server.close()
          await database.drop()
        },
      }
    },
  }
}

/** MariaDB's ER_STATEMENT_TIMEOUT, a name that mysql2 does not know. */
function isTimeout(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false
  return ('errno' in error && error.errno === 1969) || ('cause' in error && isTimeout(error.cause))
}

/** Cancels what runs, or ends a connection, of the serving account. */
async function kill(killer: mysql.Connection, user: string): Promise<boolean> {
  const [rows] = await killer.query(
    'select id from information_schema.processlist where user = ? order by rand() limit 1',
    [user],
  )
  const [prey] = rows as { id: number }[]
  if (prey === undefined) return false
  const verb = Math.random() < 0.4 ? 'kill' : 'kill query'
  // It may be gone meanwhile.
  return killer.query(`${verb} ${prey.id}`).then(
    () => true,
    () => false,
  )
}
