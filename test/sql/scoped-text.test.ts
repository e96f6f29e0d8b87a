import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { prefixedName } from '../../src/sql/naming.ts'
import { quotedNames } from '../../src/sql/quoted-names.ts'
import type { Naming } from '../../src/sql/naming.ts'
import { createTextScoper } from '../../src/sql/scoped-text.ts'
import { mssqlProfile, mysqlProfile, postgresProfile, sqliteProfile } from './profiles.ts'

const schema = { qualifier: ['acme'], prefix: '' }
const prefix = { qualifier: ['shared'], prefix: 't1__' }
const bare = { qualifier: [], prefix: 't1__' }
const names = (sql: string, profile = postgresProfile) => quotedNames(sql, profile).map(({ name }) => name)

describe('quotedNames', () => {
  it.each([
    [`select "a", 'no "b"', "c""d"`, ['a', 'c"d']],
    [`select 'it''s "no"', "yes"`, ['yes']],
    [`select E'\\' "no"', "yes"`, ['yes']],
    [`select e'\\\\', "yes"`, ['yes']],
    [`select 'back\\', "yes"`, ['yes']],
    [`select somee'\\', "yes"`, ['yes']],
    [`-- "no"\nselect "yes"`, ['yes']],
    [`/* "no" /* "no" */ "no" */ select "yes"`, ['yes']],
    [`select $$ "no" $$, $a$ "no" $$ "no" $a$, "yes"`, ['yes']],
    [`select a$b$ from "yes"`, ['yes']],
    [`select $1, "yes"`, ['yes']],
    [`select "not closed`, []],
    [`select 'not closed "no"`, []],
    [`/* not closed "no"`, []],
    [`select $$ not closed "no"`, []],
  ])('of PostgreSQL: %s', (sql, expected) => {
    expect(names(sql)).toEqual(expected)
  })

  it.each([
    ['select `a`, "no", \'no `b`\', `c``d`', ['a', 'c`d']],
    [String.raw`select '\' ` + "`no`', `yes`", ['yes']],
    ['# `no`\nselect `yes`', ['yes']],
    ['select 1--`yes`', ['yes']],
    ['select 1 -- `no`\n, `yes`', ['yes']],
    ['/* `no` /* `no` */ `yes`', ['yes']],
    ['select $$ `yes` $$', ['yes']],
  ])('of MySQL: %s', (sql, expected) => {
    expect(names(sql, mysqlProfile)).toEqual(expected)
  })

  it.each([
    ['select [a], \'no [b]\', [c]]d], "e""f"', ['a', 'c]d', 'e"f']],
    ["select 'back\\', [yes]", ['yes']],
    ["select N'it''s [no]', [yes]", ['yes']],
    ['/* [no] /* [no] */ [no] */ select [yes]', ['yes']],
    ['-- [no]\nselect [yes]', ['yes']],
    ['select $$ [yes] $$, $1', ['yes']],
    ['select [not closed', []],
    ["select [it's], 'no [b]'", ["it's"]],
  ])('of SQL Server: %s', (sql, expected) => {
    expect(names(sql, mssqlProfile)).toEqual(expected)
  })

  it('of SQLite, in all its quotes', () => {
    expect(names(`select [a b], "c", \`d\`, '[no]', 'back\\', "e"`, sqliteProfile)).toEqual(['a b', 'c', 'd', 'e'])
  })
})

describe('createTextScoper', () => {
  const scoper = createTextScoper(postgresProfile)
  const scope = (text: string, naming: Naming) => scoper(naming)(text)

  it('writes the names of a tenant, wherever they stand', () => {
    const text =
      'select "__tenant__"."orders"."id" from "__tenant__"."orders" "o" where "x" = \'"__tenant__"."y"\' -- "__tenant__"."z"'
    expect(scope(text, schema)).toBe(
      'select "acme"."orders"."id" from "acme"."orders" "o" where "x" = \'"__tenant__"."y"\' -- "__tenant__"."z"',
    )
    expect(scope(text, prefix)).toContain('from "shared"."t1__orders" "o"')
    expect(scope(text, bare)).toContain('select "t1__orders"."id" from "t1__orders"')
  })

  it('leaves a token that stands for no name, which then finds nothing', () => {
    for (const text of [
      'select "__tenant__"',
      'select "__tenant__" . "x"',
      'select "__tenant__".x',
      'select "__tenant__".*',
    ]) {
      expect(scope(text, schema)).toBe(text)
    }
  })

  it('quotes what is hostile in a naming', () => {
    const hostile = { qualifier: ['a"; drop table x; --'], prefix: '' }
    expect(scope('"__tenant__"."t"', hostile)).toBe('"a""; drop table x; --"."t"')
  })

  it('gives the same for every order of tenants and texts, however many', () => {
    for (let i = 0; i < 5000; i++) scope(`select ${i} from "__tenant__"."t"`, schema)
    for (let i = 0; i < 5; i++) {
      expect(scope(`select ${i} from "__tenant__"."t"`, prefix)).toBe(`select ${i} from "shared"."t1__t"`)
    }
  })

  it('changes nothing in text without the token, and nothing in strings and comments', () => {
    const piece = fc.oneof(
      fc.constant('"__tenant__"."t"'),
      fc.string().map((text) => `'${text.replaceAll("'", "''").replaceAll('\\', '')}'`),
      fc.string().map((text) => `/*${text.replaceAll('*', '').replaceAll('/', '')}"__tenant__"."no"*/`),
      fc.constantFrom(' ', ', ', ' from ', '"other"', '1', '$1', '\n'),
    )
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const text = pieces.join(' ')
        const expected = pieces.map((one) => (one === '"__tenant__"."t"' ? '"acme"."t"' : one)).join(' ')
        expect(scope(text, schema)).toBe(expected)
      }),
    )
  })
})

describe('prefixedName', () => {
  it('stays within the limit, and never makes one name of two', () => {
    const own = `t${'x'.repeat(25)}__`
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ minLength: 1, maxLength: 90, unit: 'grapheme' }), { maxLength: 20 }),
        (all) => {
          const made = all.map((name) => prefixedName(own, name, 63))
          expect(new Set(made).size).toBe(all.length)
          for (const name of made) {
            expect(Buffer.byteLength(name)).toBeLessThanOrEqual(63)
            expect(name.startsWith(own)).toBe(true)
          }
        },
      ),
    )
    expect(prefixedName(own, 'orders', 63)).toBe(`${own}orders`)
  })
})
