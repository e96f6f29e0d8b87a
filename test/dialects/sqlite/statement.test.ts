import { describe, expect, it } from 'vitest'
import { createStatementReader, readStatement } from '../../../src/dialects/sqlite/statement.ts'

const namespace = `t${'0'.repeat(24)}a`

describe('kind', () => {
  it.each([
    ['select 1', 'read'],
    ['  -- note\n SELECT 1;', 'read'],
    ['values (1)', 'read'],
    ['with a as (select 1) select * from a', 'read'],
    ['with a as (select 1) select replace(x, 1, 2) from a', 'read'],
    ['explain query plan delete from a', 'read'],
    ['with a as (select 1) insert into b select * from a', 'write'],
    ['with a as (select 1) delete from b', 'write'],
    ['insert into a values (1) returning id', 'write'],
    ['replace into a values (1)', 'write'],
    ['update a set b = 1', 'write'],
    ['delete from a', 'write'],
    ['savepoint sp1', 'savepoint'],
    ['RELEASE SAVEPOINT sp12', 'savepoint'],
    ['rollback to savepoint sp1', 'savepoint'],
  ])('%s', (text, kind) => {
    expect(readStatement(text)).toMatchObject({ kind, refusal: undefined, sharedRefusal: undefined })
  })
})

describe('[W61] what a tenant may not send is refused before it is sent', () => {
  it.each([
    `attach '/tmp/other.db' as other`,
    'detach other',
    'pragma foreign_keys = off',
    'pragma table_list',
    `vacuum into '/tmp/copy.db'`,
    'vacuum',
    `select load_extension('x')`,
    `select "load_extension"('x')`,
    'begin',
    'begin immediate',
    'commit',
    'rollback',
    'end',
    'savepoint mine',
    'release sp1',
    'rollback to savepoint "sp1"',
    'savepoint sp1; commit',
    'create table a (b)',
    'create temp table a (b)',
    'drop table a',
    'alter table a rename to b',
    'reindex',
    'analyze',
    'select 1; delete from a',
    'select 1;; attach x as y',
    '',
    '-- nothing',
    '; select 1',
    '(select 1)',
    'select 1 from "not closed',
    `select 'not closed`,
    'select 1 /* not closed',
    "select 1 -- \r ' \n; attach 'x' as y --'",
    'select 1\0',
    `select $a('), ':b`,
    'select :name',
    'select @name',
    'insert into __drizzle_migrations values (1)',
    'delete from "__tenant__"."__drizzle_migrations"',
    `delete from '__DRIZZLE_migrations'`,
  ])('%j', (text) => {
    expect(readStatement(text).refusal).toEqual(expect.any(String))
  })

  it.each([
    'select * from sqlite_master',
    'select * from sqlite_schema',
    'select * from main.sqlite_schema',
    `select * from 'sqlite_master'`,
    'select * from [SQLITE_MASTER]',
    'select * from "sqlite_temp_schema"',
    'delete from sqlite_sequence',
    'select * from pragma_table_list',
    `select * from pragma_table_info('x')`,
    'select * from dbstat',
    'select * from sqlite_dbpage',
    `select * from vector_top_k('idx', vector('[1]'), 1)`,
    `select * from ${namespace}__orders`,
    `select * from "${namespace.toUpperCase()}__orders"`,
    `select * from '${namespace}__orders'`,
    `select * from main.${namespace}__orders`,
  ])('where files are shared: %j', (text) => {
    const { refusal, sharedRefusal } = readStatement(text)
    expect(refusal).toBeUndefined()
    expect(sharedRefusal).toEqual(expect.any(String))
  })

  it.each([
    `select 'attach', 'sqlite is nice', 'pragma' as "begin"`,
    'select temp, "temp" from "__tenant__"."weather"',
    `select * from "__tenant__"."orders" where "note" = ';'`,
    'select /* ; attach */ 1 -- ; vacuum',
    'insert or replace into a values (1);',
  ])('ordinary SQL passes: %j', (text) => {
    expect(readStatement(text)).toMatchObject({ refusal: undefined, sharedRefusal: undefined })
  })

  it('a refusal never shows another tenant’s name', () => {
    expect(readStatement(`select * from ${namespace}__orders`).sharedRefusal).not.toContain(namespace)
  })
})

it('reads a text once, and forgets long and old ones', () => {
  const read = createStatementReader()
  expect(read('select 1')).toBe(read('select 1'))
  const long = `select '${'x'.repeat(20_000)}'`
  expect(read(long)).not.toBe(read(long))
  const first = read('select 1')
  for (let i = 0; i < 2100; i++) read(`select ${i + 10}`)
  expect(read('select 1')).not.toBe(first)
})
