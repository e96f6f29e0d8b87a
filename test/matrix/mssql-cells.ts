import { sql } from 'drizzle-orm'
import { MsSqlSelectBase } from 'drizzle-orm-v1/mssql-core'
import mssql from 'mssql'
import { errorNumber } from '../../src/dialects/mssql/failure.ts'
import type { MssqlModule, MssqlPool } from '../../src/dialects/mssql/drivers/mssql-types.ts'
import type { StrategyName } from '../../src/contracts/tenant.ts'
import type { IsolationStrategy, Scope } from '../../src/contracts/isolation.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { codeOf } from '../attack/operation.ts'
import { connect, mssqlDatabase, mssqlServer } from '../support/mssql.ts'
import type { Book, Cell, Db, RelationalDb, Runner } from './cell.ts'
import type { Model } from './models/model.ts'
import * as plain from './models/mssql.ts'
import * as shared from './models/mssql-rls.ts'
import { relationsOf } from './relations.ts'

const { Request } = mssql as MssqlModule

// TOP stands before FROM there, so Drizzle has no `limit` behind it, which the attack asks for.
Object.defineProperty(MsSqlSelectBase.prototype, 'limit', {
  value(this: { config: { top: number } }, rows: number) {
    this.config.top = rows
    return this
  },
})

interface NodeMssql {
  drizzle(config: { readonly client: object }): unknown
}

/** What SQL Server carries besides shared tables. */
export const mssqlStrategies: readonly IsolationStrategy[] = [
  namespaceStrategy('schema'),
  namespaceStrategy('database'),
  namespaceStrategy('prefix'),
]

/** What a killed connection leads to, and what the server does to transactions that lock each other out. */
const DISTURBED = new Set(['TENANCY_ERR_DATABASE_UNAVAILABLE', 'TENANCY_ERR_TRANSACTION_ROLLED_BACK'])
const DEADLOCK = 1205

/** A strategy on a SQL Server. */
export function mssqlCell(superuserUrl: string, strategy: IsolationStrategy, poolSize = 2, poolTimeout = 10): Cell {
  return {
    name: `${strategy.name} on SQL Server`,
    strategy,
    unqualified: 'nobody',
    features: ['relational', 'relational one', 'iterator'],
    async open() {
      const database = await mssqlDatabase(superuserUrl)
      const server = mssqlServer(database, { poolSize, poolTimeout, strategies: [strategy.name as StrategyName] })
      await server.open()
      // Not at the top: drizzle-orm 0.45 has no such entry.
      const { drizzle } = (await import('drizzle-orm/node-mssql')) as NodeMssql
      const killer = await connect(superuserUrl, 1)
      const { authors, books, cheapBooks, statements } = strategy.name === 'rls' ? shared : plain
      adoptTables({ authors, books, cheapBooks })
      const model = { authors, books, cheapBooks } as unknown as Model
      const namespaces = new Set<string>()
      return {
        server: {
          ...server,
          inNamespace: (scope: Scope, work) => {
            if (scope.strategy === 'database') namespaces.add(scope.namespace)
            return server.inNamespace(scope, work)
          },
        },
        place: database.url,
        model,
        statements,
        drizzle: (client) => drizzle({ client }) as Db,
        relational: (client) => drizzle({ client, ...relationsOf(model) }) as RelationalDb,
        rows: async (db, query) =>
          ((await db.execute(query)) as unknown as { recordset?: Record<string, unknown>[] }).recordset ?? [],
        upsert: (db, book) => upsert(db, books, book),
        disturb: () => kill(killer, database.servingLogin),
        isDisturbance: (error) => DISTURBED.has(codeOf(error) ?? '') || numberOf(error) === DEADLOCK,
        close: async () => {
          await killer.close()
          await server.close()
          await database.drop([...namespaces])
        },
      }
    },
  }
}

/** MERGE would be the word for it; this is the same in two. */
function upsert(db: Runner, books: unknown, { id, authorId, title, price }: Book): Promise<unknown> {
  return db.execute(sql`update ${books} set [title] = ${title}, [price] = ${price} where [id] = ${id};
    insert into ${books} ([id], [author_id], [title], [price])
    select ${id}, ${authorId}, ${title}, ${price} where not exists (select 1 from ${books} where [id] = ${id})`)
}

/** Ends a session of the serving login. */
async function kill(killer: MssqlPool, login: string): Promise<boolean> {
  // A connection takes a while to make: there must be some.
  if (Math.random() > 0.1) return false
  const request = new Request(killer as never)
  request.input('login', login)
  const { recordset = [] } = await request.query(
    'select top (1) session_id as id from sys.dm_exec_sessions where login_name = @login order by newid()',
  )
  const [prey] = recordset as { id: number }[]
  if (prey === undefined) return false
  // It may be gone meanwhile.
  return new Request(killer as never).query(`kill ${prey.id}`).then(
    () => true,
    () => false,
  )
}

function numberOf(error: unknown): number | undefined {
  return errorNumber(error instanceof Error && error.cause !== undefined ? error.cause : error)
}
