import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Scope } from '../../src/contracts/isolation.ts'
import { DdlRefusal } from '../../src/contracts/migrator.ts'
import { createDdlParser } from '../../src/dialects/sqlite/ddl.ts'
import { readStatement } from '../../src/dialects/sqlite/statement.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { codeOf } from '../support/errors.ts'
import { describeWith } from '../servers/suite.ts'
import {
  dbOf,
  newTenant,
  openBetterSqlite3,
  openSqlite,
  ownFile,
  rawClient,
  type RawClient,
  type SqliteServer,
} from '../support/sqlite.ts'

const secrets = sqliteTable('secrets', { id: integer('id').primaryKey(), owner: text('owner').notNull() })
adoptTables({ secrets })

const statements = ["CREATE TABLE `secrets` (`id` integer PRIMARY KEY, `owner` text NOT NULL CHECK (`owner` <> ''))"]
const REFUSED = 'TENANCY_ERR_STATEMENT_REFUSED'

describe.each(['database', 'prefix'] as const)('%s on SQLite', (strategy) => {
  let files: SqliteServer
  let a: Scope
  let b: Scope
  beforeAll(async () => {
    files = await openSqlite()
    a = await newTenant(files, strategy, statements)
    b = await newTenant(files, strategy, statements)
    await dbOf(files, a)
      .insert(secrets)
      .values([{ owner: 'the secret of a' }, { owner: 'another' }])
    await dbOf(files, b).insert(secrets).values({ owner: 'b' })
  })
  afterAll(() => files.close())

  const everyWay = async (text: string) => {
    const client = rawClient(files, b)
    const codes = [await codeOf(() => client.execute(text)), await codeOf(() => client.batch([text]))]
    const transaction = await client.transaction('write')
    codes.push(await codeOf(() => transaction.execute(text)))
    await transaction.commit()
    return codes
  }

  it('reads and writes no file by a function or a table', async () => {
    const file = strategy === 'database' ? ownFile(files, a) : files.mainFile
    const written = join(files.folder, 'written')
    for (const text of [
      `select readfile('${file}') as content`,
      `select "readfile"('${file}') as content`,
      `select [READFILE] ('${file}') as content`,
      `select \ufeffreadfile('${file}') as content`,
      `select readfile/**/('${file}') as content`,
      `select writefile('${written}', 'x')`,
      `insert into "__tenant__"."secrets" (owner) values (hex(readfile('${file}')))`,
      `select name, data from fsdir('${files.folder}')`,
      `select name, data from "fsdir" where path = '${files.folder}'`,
      `select name, data from 'fsdir'('${files.folder}')`,
      `select sha3_query('select * from secrets')`,
      `select sqlite3mc_config('cipher', 'chacha20')`,
      `select load_extension('x')`,
    ]) {
      expect(await everyWay(text), text).toEqual([REFUSED, REFUSED, REFUSED])
    }
    expect(existsSync(written)).toBe(false)
    expect(await dbOf(files, b).$count(secrets)).toBe(1)
  })

  it('no migration reaches out of its file either', () => {
    for (const text of [
      `create view v as select readfile('/etc/passwd') as x`,
      `create table t as select * from "fsdir"('/')`,
      `insert into secrets (owner) values ("writefile"('/tmp/x', 'y'))`,
      `create virtual table f using fsdir`,
      `create view v as select * from \ufeffsecrets`,
    ]) {
      expect(() => createDdlParser()(text).render(a), text).toThrow(DdlRefusal)
    }
  })

  it('EXPLAIN runs no setting: SQLite carries some out while it reads them', async () => {
    for (const text of [
      'explain pragma query_only = on',
      'explain query plan pragma ignore_check_constraints = on',
      'explain pragma case_sensitive_like = on',
      'EXPLAIN /**/ pragma foreign_keys = off',
      'explain vacuum',
      `explain attach 'x' as y`,
      'explain explain select 1',
      'explain',
      'explain query plan',
    ]) {
      expect(await everyWay(text), text).toEqual([REFUSED, REFUSED, REFUSED])
    }
    const db = dbOf(files, a)
    expect(await codeOf(() => db.insert(secrets).values({ owner: '' }))).toMatch(/CONSTRAINT/)
    await db.insert(secrets).values({ id: 99, owner: 'still written' })
    await db.delete(secrets).where(sql`${secrets.id} = 99`)
    expect(await db.all(sql`select 'A' like 'a' as same`)).toEqual([{ same: 1 }])
    await rawClient(files, a).execute('explain query plan select * from "__tenant__"."secrets"')
    await rawClient(files, a).execute('explain delete from "__tenant__"."secrets"')
    expect(await db.$count(secrets)).toBe(2)
  })

  it('what the writer of all tenants remembers of the last statement is told to none of them', async () => {
    await dbOf(files, a).insert(secrets).values({ id: 4711, owner: 'temporary' })
    await dbOf(files, a).delete(secrets).where(sql`${secrets.id} = 4711`)
    for (const text of ['last_insert_rowid()', '"CHANGES"()', 'total_changes ()', '\n[last_insert_rowid]/**/()']) {
      const codes = await everyWay(`select ${text} as told`)
      if (strategy === 'prefix') expect(codes, text).toEqual([REFUSED, REFUSED, REFUSED])
      else expect(codes, text).toEqual([undefined, undefined, undefined])
    }
    const [clientA, clientB] = [rawClient(files, a), rawClient(files, b)]
    const told = async (client: RawClient, text: string) =>
      ((await client.execute(text)) as { lastInsertRowid?: bigint }).lastInsertRowid
    const add = 'insert into "__tenant__"."secrets" (id, owner) values (4712, 1)'
    const remove = 'delete from "__tenant__"."secrets" where id = 4712'
    expect(await told(clientA, add)).toBe(4712n)
    if (strategy === 'prefix') expect(await told(clientB, remove)).toBe(0n)
    // The same number in both, one after the other.
    expect(await told(clientB, add)).toBe(4712n)
    expect(await told(clientA, remove)).not.toBe(strategy === 'prefix' ? 4712n : undefined)
    const transaction = await clientA.transaction('write')
    await transaction.execute(add)
    await transaction.commit()
    expect(await told(clientB, remove)).not.toBe(strategy === 'prefix' ? 4712n : undefined)
    await clientA.execute(remove)
    expect(await rawClient(files, b).execute('select 1 as changes')).toMatchObject({ rows: [{ changes: 1 }] })
  })

  it('a byte order mark, which is white space to SQLite, hides no name', async () => {
    for (const text of [
      `select * from \ufeff${a.namespace}__secrets`,
      `select * from main.\ufeff${a.namespace}__secrets`,
      'select name from \ufeffsqlite_master',
      'select * from \ufeff\ufeffpragma_table_list',
      "\ufeffattach 'x' as y",
    ]) {
      expect(await everyWay(text), text).toEqual([REFUSED, REFUSED, REFUSED])
    }
    expect(await rawClient(files, b).execute(`select '\ufeff' as "\ufeff"`)).toMatchObject({
      rows: [{ '\ufeff': '\ufeff' }],
    })
  })
})

describe('what SQLite brings', () => {
  it('of libsql is known, so that something new is looked at', () => assertKnown(openSqlite))
})

describeWith(['better-sqlite3'], 'what SQLite brings', () => {
  it('of better-sqlite3 is known, so that something new is looked at', () => assertKnown(openBetterSqlite3))
})

/** Every function and table is refused, or is one that was looked at. */
async function assertKnown(openFiles: typeof openBetterSqlite3): Promise<void> {
  const files = await openFiles()
  const names = async (of: string) =>
    (await files.server.admin.query<{ name: string }>(`select distinct name from pragma_${of}_list`)).map(({ name }) =>
      name.toLowerCase(),
    )
  const lets = (text: string) => {
    const { refusal, sharedRefusal } = readStatement(text)
    return (refusal ?? sharedRefusal) === undefined
  }
  const functions = (await names('function')).filter((name) => lets(`select "${name}"('x')`))
  expect(functions.filter((name) => !HARMLESS_FUNCTIONS.has(name))).toEqual([])
  const tables = (await names('module')).filter((name) => lets(`select * from "${name}"`))
  expect(tables.filter((name) => !HARMLESS_TABLES.has(name))).toEqual([])
  await files.close()
}

/** Functions that only compute something of their arguments. */
const HARMLESS_FUNCTIONS = new Set(
  `-> ->> abs acos acosh asin asinh atan atan2 atanh atn2 avg bm25 ceil ceiling char charindex coalesce concat concat_ws cos
  cosh cot coth count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank difference exp
  first_value floor format fts5 fts5_source_id geopoly_area geopoly_bbox geopoly_blob geopoly_ccw geopoly_contains_point
  geopoly_debug geopoly_group_bbox geopoly_json geopoly_overlap geopoly_regular geopoly_svg geopoly_within geopoly_xform glob
  group_concat hex highlight ifnull iif instr json json_array json_array_length json_error_position json_extract
  json_group_array json_group_object json_insert json_object json_patch json_quote json_remove json_replace json_set json_type
  json_valid jsonb jsonb_array jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert jsonb_object jsonb_patch
  jsonb_remove jsonb_replace jsonb_set julianday lag last_value lead leftstr length like likelihood likely ln log log10 lower
  lower_quartile lsmode ltrim match matchinfo max median min mode nth_value ntile nullif octet_length offsets optimize padc
  padl padr percent_rank pi power printf proper quote radians random randomblob rank regexp regexpi replace replicate reverse
  rightstr round row_number rtreedepth rtreenode rtrim sha3 sign sin sinh snippet soundex sqrt square stdev strfilter strftime
  string_agg substr substring subtype sum tan tanh time timediff total trim typeof unhex unicode unixepoch unlikely upper
  upper_quartile uuid uuid_blob uuid_str variance vector vector16 vector1bit vector32 vector64 vector8 vector_distance_cos
  vector_distance_l2 vector_extract vectorb16 zeroblob pow json_pretty trunc percentile percentile_cont percentile_disc unistr
  unistr_quote json_array_insert jsonb_array_insert if mod log2 fts5_locale fts5_insttoken fts5_get_locale`.split(
    /\s+/,
  ),
)

/** Tables that hold nothing but their arguments, and those that exist only as what a migration makes of them. */
const HARMLESS_TABLES = new Set(
  `json_tree json_each generate_series carray fts3 fts4 fts5 rtree rtree_i32 geopoly fts3tokenize fts4aux fts5vocab`.split(
    /\s+/,
  ),
)
