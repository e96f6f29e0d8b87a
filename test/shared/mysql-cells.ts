import { randomBytes } from 'node:crypto'
import { drizzle } from 'drizzle-orm/mysql2'
import type { IsolationStrategy } from '../../src/contracts/isolation.ts'
import type { SharedTables } from '../../src/contracts/shared-tables.ts'
import type { StrategyName } from '../../src/contracts/tenant.ts'
import type { Db } from '../matrix/cell.ts'
import { asRoot, mysqlDatabase, mysqlServer } from '../support/mysql.ts'
import { type SharedCell, sharedTables } from './cell.ts'
import { mysqlModel, sharedStatements, statements } from './models.ts'

const attacks = [
  "insert into %s values (4, 'stolen')",
  "replace into %s values (1, 'stolen')",
  "update %s set name = 'stolen'",
  'delete from %s',
  'delete p from %s p',
  "insert into %s (id, name) select 5, 'stolen'",
  "insert into %s (id, name) values (1, 'x') on duplicate key update name = 'stolen'",
  'truncate table %s',
  'alter table %s add column mine int',
  'drop table %s',
  'rename table %s to mine',
  'create temporary table plans (id int)',
  'lock tables %s write',
]

/** A strategy on a MySQL or MariaDB server. Databases are of the whole server: each cell has a shared one of its own. */
export function mysqlSharedCell(engine: string, superuserUrl: string, strategy: IsolationStrategy): SharedCell {
  // What admin accounts of tests may make begins with t.
  let schema = ''
  return {
    name: `${strategy.name} on ${engine}`,
    strategy,
    get attacks() {
      return attacks
    },
    full: (name) => `\`${schema}\`.\`${name}\``,
    async open() {
      const database = await mysqlDatabase(superuserUrl)
      const own = `t_shared_${randomBytes(4).toString('hex')}`
      // The first one opened is the one that the suite is about.
      schema ||= own
      const start = async (change: Partial<SharedTables> = {}) => {
        const server = mysqlServer(database, {
          poolSize: 3,
          strategies: [strategy.name as StrategyName],
          sharedTables: { ...sharedTables, schema: own, ...change },
        })
        await server.open()
        return server
      }
      const server = await start()
      return {
        server,
        model: mysqlModel() as never,
        sharedStatements: sharedStatements.mysql,
        statements: statements.mysql,
        ownTable: 'CREATE TABLE mine (id integer)',
        cascading:
          'CREATE TABLE `labelled` (`id` int NOT NULL, `tag_id` int, CONSTRAINT `fk_x` FOREIGN KEY (`tag_id`) REFERENCES `tags`(`id`) ON DELETE cascade)',
        drizzle: (client) => drizzle({ client: client as never }) as unknown as Db,
        rows: async (db, query) => ((await db.execute(query)) as unknown as [Record<string, unknown>[]])[0],
        url: database.superUrl,
        account: `${database.servingUser}@'%'`,
        another: (options) => start(options?.sharedTables),
        asOwner: (...texts) => asRoot(database.superUrl, texts),
        async close() {
          await server.close()
          await asRoot(database.superUrl, ['set foreign_key_checks = 0', `drop database if exists ${own}`])
          await database.drop()
        },
      }
    },
  }
}
