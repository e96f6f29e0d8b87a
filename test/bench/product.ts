import type * as Mysql from '../../src/dialects/mysql/drivers/mysql-server.ts'
import type * as Server from '../../src/dialects/postgres/drivers/pg-server.ts'
import type * as Pglite from '../../src/dialects/postgres/drivers/pglite-server.ts'
import type * as Better from '../../src/dialects/sqlite/drivers/better-sqlite3-server.ts'
import type * as Libsql from '../../src/dialects/sqlite/drivers/libsql-server.ts'
import type * as Index from '../../src/index.ts'

/*
 * The package as it is published (`npm run build`), not its sources: what runs those names every function anew at run
 * time, which took 7 µs of a statement.
 */
const built = new URL('../../dist/', import.meta.url)

export const { tenancy, getTenant, getTenantDb } = (await import(`${built.href}index.js`)) as typeof Index
export const { createMysqlServer } = (await import(
  `${built.href}dialects/mysql/drivers/mysql-server.js`
)) as typeof Mysql
export const { createLibsqlServer } = (await import(
  `${built.href}dialects/sqlite/drivers/libsql-server.js`
)) as typeof Libsql
export const { createBetterSqlite3Server } = (await import(
  `${built.href}dialects/sqlite/drivers/better-sqlite3-server.js`
)) as typeof Better
export const { createPgliteServer } = (await import(
  `${built.href}dialects/postgres/drivers/pglite-server.js`
)) as typeof Pglite
export const { createPgServer } = (await import(`${built.href}dialects/postgres/drivers/pg-server.js`)) as typeof Server
