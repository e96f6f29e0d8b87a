import { drizzle, type LibSQLDatabase } from 'drizzle-orm/libsql'
import type { SharedTables } from '../../src/contracts/shared-tables.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import type { Db } from '../matrix/cell.ts'
import { openBetterSqlite3, openSqlite, type SqliteServer } from '../support/sqlite.ts'
import { rowsOf } from '../support/sqlite-rows.ts'
import { type SharedCell, sharedTables } from './cell.ts'
import { sharedStatements, sqliteModel, statements } from './models.ts'

const spellings = [
  '"__shared__"."plans"',
  '"shared__plans"',
  'shared__plans',
  '`Shared__Plans`',
  '"main"."shared__plans"',
]

const attacks = [
  ...spellings.flatMap((plans) => [
    `insert into ${plans} values (4, 'stolen')`,
    `insert or ignore into ${plans} values (4, 'stolen')`,
    `insert or replace into ${plans} values (1, 'stolen')`,
    `replace into ${plans} values (1, 'stolen')`,
    `insert into ${plans} values (1, 'x') on conflict do update set name = 'stolen'`,
    `update ${plans} set name = 'stolen'`,
    `update or ignore ${plans} set name = 'stolen' returning *`,
    `delete from ${plans}`,
    `with x as (select 1) delete from ${plans} where id in (select * from x)`,
  ]),
  'drop table "shared__plans"',
  'drop trigger "shared__plans__tenancy_no_insert"',
  'insert into "shared____tenancy_admin" values (1)',
  'insert into "__shared__"."__tenancy_admin" values (1)',
  'create table "shared__mine" (id integer)',
  'pragma recursive_triggers = off',
  'create temp table plans (id integer)',
]

/** A prefix on SQLite: the only way in which tenants are in one file. */
export const sqliteSharedCell: SharedCell = {
  ...cellOf(openSqlite, async () => drizzle),
  name: 'prefix on SQLite',
}

/** The same with better-sqlite3. */
export const betterSqlite3SharedCell: SharedCell = {
  ...cellOf(
    openBetterSqlite3,
    async () => (await import('drizzle-orm/better-sqlite3')).drizzle as unknown as typeof drizzle,
  ),
  name: 'prefix on SQLite with better-sqlite3',
  synchronous: true,
}

function cellOf(
  openFiles: typeof openBetterSqlite3,
  loadDrizzle: () => Promise<typeof drizzle>,
): Omit<SharedCell, 'name'> {
  return {
    strategy: namespaceStrategy('prefix'),
    attacks,
    full: (name) => `"shared__${name}"`,
    async open() {
      const drizzleOf = await loadDrizzle()
      const beside: { first?: SqliteServer } = {}
      const start = async (change: Partial<SharedTables> = {}) =>
        openFiles({ sharedTables: { ...sharedTables, ...change }, poolTimeout: 20 }, beside.first)
      const first = await start()
      beside.first = first
      return {
        server: first.server,
        model: sqliteModel() as never,
        sharedStatements: sharedStatements.sqlite,
        statements: statements.sqlite,
        ownTable: 'CREATE TABLE mine (id integer)',
        cascading:
          'CREATE TABLE `labelled` (`id` integer PRIMARY KEY NOT NULL, `tag_id` integer, FOREIGN KEY (`tag_id`) REFERENCES `tags`(`id`) ON UPDATE no action ON DELETE set null)',
        drizzle: (client) => drizzleOf({ client: client as never }) as unknown as Db,
        rows: (db, query) => rowsOf(db as unknown as LibSQLDatabase, query),
        another: async (options) => (await start(options?.sharedTables)).server,
        async asOwner(...texts) {
          let rows: Record<string, unknown>[] = []
          for (const text of texts) rows = await first.server.admin.query(text)
          return rows
        },
        close: () => first.close(),
      }
    },
  }
}
