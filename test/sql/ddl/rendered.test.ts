import { describe, expect, it, test } from 'vitest'
import type { SqlProfile } from '../../../src/sql/profile.ts'
import { mssqlProfile, mysqlProfile, postgresProfile, sqliteProfile } from '../profiles.ts'
import * as mssql from './kit-mssql.ts'
import * as mysql from './kit-mysql.ts'
import * as postgres from './kit-postgres.ts'
import * as sqlite from './kit-sqlite.ts'
import { expected, plain, rendered } from './marked.ts'

const schema = { qualifier: ['acme'], prefix: '' }
const shared = { qualifier: ['shared'], prefix: 't1__' }
const bare = { qualifier: [], prefix: 't1__' }
const all = (kit: { kit031: readonly string[]; kit10: readonly string[]; custom: readonly string[] }) => [
  ...kit.kit031,
  ...kit.kit10,
  ...kit.custom,
]

describe.each([
  ['PostgreSQL', postgresProfile, all(postgres), [shared]],
  ['MySQL', mysqlProfile, all(mysql), [schema, shared]],
  ['SQLite', sqliteProfile, all(sqlite), [bare]],
  ['SQL Server', mssqlProfile, all(mssql), [schema, shared]],
] as const)('%s: every name of the tenant is written, and nothing else changes', (_, profile, statements, namings) => {
  it.each(statements)('%s', (marked) => {
    for (const naming of namings) {
      expect(rendered(plain(marked, profile), naming, profile)).toBe(expected(marked, naming, profile))
    }
  })
})

describe('names that are not quoted', () => {
  it('stand for their lower-case form on PostgreSQL', () => {
    expect(rendered('DROP TABLE Public.Orders', shared, postgresProfile)).toBe('DROP TABLE "shared"."t1__orders"')
    expect(rendered('SELECT ORDERS.Id FROM Orders', shared, postgresProfile)).toBe(
      'SELECT "t1__orders".Id FROM "shared"."t1__orders"',
    )
  })

  it('stand for themselves on MySQL and SQLite', () => {
    expect(rendered('DROP TABLE Orders', schema, mysqlProfile)).toBe('DROP TABLE `acme`.`Orders`')
    expect(rendered('DROP TABLE Orders', bare, sqliteProfile)).toBe('DROP TABLE "t1__Orders"')
  })

  it('may be quoted in all ways of SQLite', () => {
    expect(rendered('SELECT `a`.x, [b c].x FROM "a", [b c]', bare, sqliteProfile)).toBe(
      'SELECT "t1__a".x, "t1__b c".x FROM "t1__a", "t1__b c"',
    )
  })
})

describe('renames of SQL Server', () => {
  it.each(mssql.renames)('%s', (migration, written) => {
    expect(rendered(migration, shared, mssqlProfile)).toBe(written)
  })

  it('a new name that is too long is shortened like the name itself', () => {
    const long = 'x'.repeat(127)
    const short = /\.\[([^\]]+)\]$/.exec(rendered(`DROP TABLE [${long}]`, shared, mssqlProfile))?.[1]
    expect(rendered(`EXEC sp_rename 'a', [${long}]`, shared, mssqlProfile)).toContain(`N'${short}'`)
  })
})

describe('types of PostgreSQL', () => {
  test.each(['tsvector', 'citext', 'vector', 'int4'])('"%s", which kit quotes, stays', (type) => {
    const sql = `("x" "${type}" DEFAULT ''::"${type}")`
    expect(rendered(`CREATE TABLE "a" ${sql}`, shared, postgresProfile)).toBe(`CREATE TABLE "shared"."t1__a" ${sql}`)
  })

  test('an unquoted one stays: it finds no type of the tenant', () => {
    expect(rendered('CREATE TABLE a (x mood)', shared, postgresProfile)).toBe('CREATE TABLE "shared"."t1__a" (x mood)')
  })
})

describe('constraints that PostgreSQL names itself', () => {
  const long = 'a_table_with_quite_a_very_long_name'

  test('get the name that later migrations take for granted, where it would be cut otherwise', () => {
    const own = { qualifier: ['shared'], prefix: `t${'1'.repeat(25)}__` }
    const made = rendered(`CREATE TABLE "${long}" ("id" int PRIMARY KEY, "n" int UNIQUE)`, own, postgresProfile)
    for (const name of [`${long}_pkey`, `${long}_n_key`]) {
      const dropped = rendered(`ALTER TABLE "${long}" DROP CONSTRAINT "${name}"`, own, postgresProfile)
      const constraint = /DROP CONSTRAINT (".*")$/.exec(dropped)?.[1] ?? 'none'
      expect(made).toContain(`CONSTRAINT ${constraint} `)
    }
    expect(rendered(`ALTER TABLE "${long}" ADD UNIQUE ("a","b")`, own, postgresProfile)).toMatch(
      /ADD CONSTRAINT "t1+__a_table[^"]*" UNIQUE \("a","b"\)$/,
    )
    expect(rendered('CREATE TABLE "a" ("id" int PRIMARY KEY)', own, postgresProfile)).not.toContain('CONSTRAINT')
  })
})

describe('nothing to run', () => {
  const cases: readonly (readonly [string, SqlProfile])[] = [
    ['', mysqlProfile],
    ['-- nothing\n', sqliteProfile],
    ['/* x */ ; ', postgresProfile],
    ['CREATE SCHEMA "public";', postgresProfile],
    ['create schema if not exists public', postgresProfile],
  ]
  test.each(cases)('%j', (sql, profile) => {
    expect(rendered(sql, shared, profile)).toBe('')
  })
})
