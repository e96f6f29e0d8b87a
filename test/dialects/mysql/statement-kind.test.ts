import { describe, expect, it } from 'vitest'
import { statementKind } from '../../../src/dialects/mysql/statement-kind.ts'

const kinds: Record<string, string[]> = {
  plain: [
    'select 1',
    '  SELECT 1',
    '(select 1) union (select 2)',
    '((select 1))',
    'insert into `a`.`b` values (?)',
    'with x as (select 1) select * from x',
    'replace into t values (1)',
    'values row(1)',
    'table t',
    'explain select 1',
    'describe t',
    '/* who asked */ select 1',
    '-- who asked\nselect 1',
    '# who asked\nselect 1',
    'select `row_count`, `last_insert_id` from t',
    "select 'information_schema.x', \"/*! no */\", '@@x'",
    'select `a@b`, `/*!` from `connection`',
    'select 1 /* information_schema.tables */',
    'select information_schema from t',
    'select 1 -- last_insert_id()',
    "select 'it''s \\' @x'",
  ],
  tainted: [
    'select @x',
    'select @x := 1',
    "select get_lock('a', 1)",
    'select `GET_LOCK` (1, 2)',
    'select 1 into @`a b`',
  ],
  procedure: ['call p()', 'CALL `__tenant__`.`p`(?)', '/* x */ call p(@x)'],
  isolation: [
    'set transaction isolation level serializable',
    'SET TRANSACTION READ ONLY, ISOLATION LEVEL READ COMMITTED;',
  ],
  begin: [
    'begin',
    'BEGIN WORK;',
    'start transaction',
    'start transaction with consistent snapshot',
    'start transaction read only',
    'start transaction with consistent snapshot, read write',
  ],
  commit: ['commit', ' Commit Work ; '],
  rollback: ['rollback', 'ROLLBACK WORK'],
  savepoint: ['savepoint sp1', 'release savepoint sp1'],
  'rollback-to': ['rollback to savepoint sp1', 'rollback work to sp1'],
  refused: [
    '',
    ' ',
    ';',
    ';select 1',
    '1',
    '(1)',
    "'select'",
    '`select` 1',
    'set @a = 1',
    'set transaction_isolation = 1',
    'set session transaction read only',
    'begin; select 1',
    'begin not atomic',
    'commit and chain',
    'commit /* x */',
    'rollback release',
    'start slave',
    'use x',
    'delimiter',
    'do 1',
    'show tables',
    '/*!use x*/',
    'select /*!1*/',
    'select /*M!1*/',
    "select 'a@",
    'select `a@',
    'select /* a',
    'select @@version',
    'select @ @x, @@session.sql_mode',
    'select last_insert_id ( )',
    'select last_insert_id/**/()',
    'select INFORMATION_SCHEMA . tables.x',
    'explain for connection 3',
    'select 1 --\u00a0 /*! 1 */',
    "# \r ' \n /*! use x */ '",
    "--\u0001 ' \n /*! use x */ '",
  ],
}

describe.each(Object.entries(kinds))('%s', (kind, texts) => {
  it.each(texts)('%j', (text) => {
    const found = statementKind(text)
    const name = found.kind === 'plain' && found.taints ? 'tainted' : found.kind
    expect(name).toBe(kind)
  })
})

it('takes linear time', () => {
  for (const piece of ['(', ' ', '/*', "'", '@', '--', '/* @ */', 'start transaction read only ', 'rollback to ']) {
    const started = process.cpuUsage().user
    statementKind(`select ${piece.repeat(200_000 / piece.length)}`)
    statementKind(piece.repeat(200_000 / piece.length))
    expect(process.cpuUsage().user - started, piece).toBeLessThan(2_000_000)
  }
})
