import { describe, expect, it } from 'vitest'
import { sqliteProfile } from '../../../src/dialects/sqlite/profile.ts'
import { render, templateOf } from '../../../src/dialects/sqlite/template.ts'
import { lexemesOf } from '../../../src/sql/ddl/lexemes.ts'

const written = (text: string, prefix = 't1__') =>
  render(templateOf(text, lexemesOf(text, sqliteProfile)), { tenant: { qualifier: [], prefix } })

const T = '"__tenant__"'

describe('with a prefix, each table gets its plain name as an alias', () => {
  it.each([
    [`select * from ${T}."orders"`, 'select * from "t1__orders" AS "orders"'],
    [`select * from ${T}."orders";`, 'select * from "t1__orders" AS "orders";'],
    [`select * from ${T}."orders" where 1`, 'select * from "t1__orders" AS "orders" where 1'],
    [`select * from ${T}."orders" "o"`, 'select * from "t1__orders" "o"'],
    [`select * from ${T}."orders" o, ${T}."lines" AS l`, 'select * from "t1__orders" o, "t1__lines" AS l'],
    [`select * from ${T}."orders", ${T}."lines"`, 'select * from "t1__orders" AS "orders", "t1__lines" AS "lines"'],
    [`select * from (${T}."orders")`, 'select * from ("t1__orders" AS "orders")'],
    [`select 1 from ${T}."a" INDEXED BY i`, 'select 1 from "t1__a" AS "a" INDEXED BY i'],
    [`select 1 from ${T}."a" not indexed`, 'select 1 from "t1__a" AS "a" not indexed'],
    [`select 1 where 1 in ${T}."a"`, 'select 1 where 1 in "t1__a"'],
    [`select ${T}."a"."id", ${T}."a".* from ${T}."a"`, 'select "a"."id", "a".* from "t1__a" AS "a"'],
    [`insert into ${T}."a" ("id") values (?)`, 'insert into "t1__a" AS "a" ("id") values (?)'],
    [`insert into ${T}."a" select 1`, 'insert into "t1__a" AS "a" select 1'],
    [`insert into ${T}."a" default values`, 'insert into "t1__a" AS "a" default values'],
    [`update or ignore ${T}."a" set "b" = 1`, 'update or ignore "t1__a" AS "a" set "b" = 1'],
    [`delete from ${T}."a" where ${T}."a"."b" = 1`, 'delete from "t1__a" AS "a" where "a"."b" = 1'],
    [`select '${T}."a"' /* ${T}."a" */ -- ${T}."a"`, `select '${T}."a"' /* ${T}."a" */ -- ${T}."a"`],
    [`select * from ${T} . "a"`, 'select * from "t1__a" AS "a"'],
    ['select * from `__tenant__`.`a`, [__tenant__].[b]', 'select * from "t1__a" AS "a", "t1__b" AS "b"'],
    [`select * from ${T}."a""b"`, 'select * from "t1__a""b" AS "a""b"'],
  ])('%s', (text, expected) => {
    expect(written(text)).toBe(expected)
  })

  it('RETURNING knows the table by its own name only', () => {
    expect(written(`update ${T}."a" set "b" = ${T}."a"."b" returning ${T}."a"."b"`)).toBe(
      'update "t1__a" AS "a" set "b" = "a"."b" returning "t1__a"."b"',
    )
    const other = `delete from ${T}."a" returning (select count(*) from ${T}."b" where ${T}."b"."a" = ${T}."a"."id")`
    expect(written(other)).toBe(
      'delete from "t1__a" AS "a" returning (select count(*) from "t1__b" AS "b" where "b"."a" = "t1__a"."id")',
    )
  })
})

it('what is not a tenant name stays, and fails at the database', () => {
  for (const text of [`select * from ${T}`, 'select * from __tenant__.a', `select * from ${T}.a`]) {
    expect(written(text)).toBe(text)
  }
})

it('in a file of its own the names are the plain ones', () => {
  const text = `select ${T}."a"."id" from ${T}."a" join ${T}."b" x on 1`
  expect(written(text, '')).toBe('select "a"."id" from "a" join "b" x on 1')
})
