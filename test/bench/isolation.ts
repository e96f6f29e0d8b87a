/*
 * What each strategy costs on each database. First one statement, a row by its key, of many tenants in turn: over the
 * product's tenant client, against the same statement without tenancy (a plain client with the same rights, the table by its
 * full name; under `rls` a table without policies and an explicit WHERE), and its turns on the network, counted by a proxy.
 * Then reads under row policies on 1,000,000 rows of 1,000 tenants, against a superuser, whom policies do not bind, with an
 * explicit WHERE; EXPLAIN must show the tenant's index. Every answer is checked. With `--quick` there are fewer tenants, and
 * 200,000 rows of 200 tenants. Where all work is done in this process, which is SQLite
 * and PGlite, the times are of CPU. On a machine that does other work only medians of many rounds mean something.
 *
 *     npm run bench:isolation -- [--quick] [--json]
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { pgliteVariants, rightsFor } from '../matrix/postgres-cells.ts'
import { provideBetterSqlite3 } from '../servers/better-sqlite3.ts'
import { startMariadb } from '../servers/mariadb.ts'
import { startPostgres } from '../servers/postgres.ts'
import { mysqlDatabase } from '../support/mysql.ts'
import { databaseHost } from '../support/tenant-databases.ts'
import { deadlines, report, type Row, settings } from './harness.ts'
import { measureCell } from './isolation-cell.ts'
import { pgliteCell } from './isolation-pglite.ts'
import { mysqlCell, mysqlStrategies } from './isolation-mysql.ts'
import { marks, notes, pgCell, pgOptions, pgStrategies, quiet } from './isolation-postgres.ts'
import { at } from './notes.ts'
import { fillShared, kinds, measureReads } from './rls-reads.ts'

const chosen = settings()
const [tenants, many] = chosen.quick ? [15, 200] : [50, 1000]
const folder = await mkdtemp(join(tmpdir(), 'tenancy-bench-'))
const [postgres, mariadb] = await Promise.all([startPostgres({ version: 18 }), startMariadb(), provideBetterSqlite3()])
// It imports what is provided.
const { sqliteCell, sqliteCells } = await import('./isolation-sqlite.ts')
try {
  adoptTables({ notes, marks })
  const [host, mysql] = await Promise.all([databaseHost(postgres.url), mysqlDatabase(mariadb.url)])
  const engines = await Promise.all([
    inTurn(pgStrategies, (strategy) => pgCell(host, strategy, tenants)),
    inTurn(pgOptions, async (option) =>
      pgCell(await databaseHost(postgres.url, rightsFor(option.options)), namespaceStrategy('schema'), tenants, option),
    ),
    inTurn(mysqlStrategies, (strategy) => mysqlCell(mysql, strategy, tenants)),
    inTurn(sqliteCells, (cell) => sqliteCell(folder, cell, tenants)),
    // Each makes two databases of its own.
    inTurn(pgliteVariants, (variant) => pgliteCell(variant, chosen.quick ? 3 : tenants)),
  ])
  const cells = engines.flat()
  await quiet(host)
  const ends = deadlines(chosen, cells.length + Object.keys(kinds).length)
  const rows: Row[] = []
  for (const [i, cell] of cells.entries()) rows.push(...(await measureCell(cell, at(ends, i))))
  // Last: it takes the place of the rows of the cell.
  await fillShared(host, many)
  await quiet(host)
  if (!chosen.json) console.log(`Row policies on ${many * 1000} rows of ${many} tenants.`)
  rows.push(...(await measureReads(host, deadlines(chosen, Object.keys(kinds).length))))
  report(rows, chosen)
} finally {
  await Promise.all([postgres.stop(), mariadb.stop()])
  await rm(folder, { recursive: true, force: true })
}

async function inTurn<T, R>(list: readonly T[], work: (one: T) => Promise<R>): Promise<R[]> {
  const done: R[] = []
  for (const one of list) done.push(await work(one))
  return done
}
