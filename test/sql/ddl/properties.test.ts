import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Naming } from '../../../src/sql/naming.ts'
import type { SqlProfile } from '../../../src/sql/profile.ts'
import { mssqlProfile, mysqlProfile, postgresProfile, sqliteProfile } from '../profiles.ts'
import * as mssql from './kit-mssql.ts'
import * as mysql from './kit-mysql.ts'
import * as postgres from './kit-postgres.ts'
import * as sqlite from './kit-sqlite.ts'
import { plain, rendered } from './marked.ts'

const every = (kit: { kit031: readonly string[]; kit10: readonly string[]; custom: readonly string[] }) => [
  ...kit.kit031,
  ...kit.kit10,
  ...kit.custom,
]
const databases: readonly (readonly [string, SqlProfile, readonly string[], readonly string[]])[] = [
  ['PostgreSQL', postgresProfile, every(postgres), ['shared']],
  ['MySQL', mysqlProfile, every(mysql), ['shared']],
  ['SQLite', sqliteProfile, every(sqlite), []],
  ['SQL Server', mssqlProfile, every(mssql), ['shared']],
]
const prefixOf = (digit: string) => `t${digit.repeat(25)}__`
const namingOf = (qualifier: readonly string[], digit: string): Naming => ({ qualifier, prefix: prefixOf(digit) })

/** A name that no keyword is. */
const anyName = fc
  .string({ minLength: 1, maxLength: 30, unit: 'grapheme' })
  .filter((name) => !name.includes('\0'))
  .map((name) => `q${name}`)
const anyText = fc.string({ maxLength: 60, unit: 'binary' }).map((text) => text.replaceAll(/[\0\\]/g, ''))

describe.each(databases)('%s', (_, profile, statements, qualifier) => {
  const a = namingOf(qualifier, '1')
  const b = namingOf(qualifier, '2')
  const quote = (name: string) => profile.quoteName(name)
  const literal = (text: string) => `'${text.replaceAll("'", "''")}'`

  it('gives two tenants the same but for the prefix', () => {
    for (const marked of statements) {
      const sql = plain(marked, profile)
      const own = rendered(sql, a, profile)
      expect(own).not.toMatch(/^refused/)
      expect(own.replaceAll(a.prefix, b.prefix)).toBe(rendered(sql, b, profile))
    }
  })

  it('refuses in one tenant what it wrote for another: it is qualified', () => {
    if (qualifier.length === 0) return
    for (const marked of statements.filter((one) => one.includes('«'))) {
      expect(rendered(rendered(plain(marked, profile), a, profile), b, profile)).toMatch(/^refused/)
    }
  })

  it('never changes a column, a string or a comment', () => {
    fc.assert(
      fc.property(anyName, anyName, anyText, anyText, (table, column, text, note) => {
        // The name stands in a comment too, and must not open or close one.
        fc.pre(!/[*]\/|\/[*]/.test(table))
        const comment = note.replaceAll(/[*/]/g, '')
        const build = (name: string) => {
          const columns = `${quote(column)} text DEFAULT ${literal(text)}, ${quote(table)} int`
          return `CREATE TABLE /*${comment}${quote(table)}*/ ${name} (${columns}) -- ${quote(table).replaceAll(/[\r\n]/g, '')}`
        }
        const written = rendered(build(quote(table)), a, profile)
        const name = rendered(`DROP TABLE ${quote(table)}`, a, profile).slice('DROP TABLE '.length)
        expect(written).toBe(build(name))
      }),
    )
  })

  it('writes every place of a name in the same way, whatever the name', () => {
    fc.assert(
      fc.property(anyName, anyName, (table, other) => {
        fc.pre(table.toLowerCase() !== other.toLowerCase())
        const drop = (name: string) => rendered(`DROP TABLE ${quote(name)}`, a, profile).slice('DROP TABLE '.length)
        const last = (name: string) => drop(name).slice(qualifier.map((part) => `${quote(part)}.`).join('').length)
        const build = (t: string, o: string, column: string) =>
          `INSERT INTO ${t} SELECT ${column}.x, y.${quote(table)} FROM ${t}, ${o} AS y WHERE x IN (SELECT 1 FROM ${o} z)`
        expect(rendered(build(quote(table), quote(other), quote(table)), a, profile)).toBe(
          build(drop(table), drop(other), last(table)),
        )
      }),
    )
  })

  it('reads any text, or refuses it, and throws nothing else', () => {
    const word = fc.constantFrom(
      ...'select from join a b . , ( ) ; create table view as with in update set insert into delete references constraint on using alter add drop rename to :: x.y'.split(
        ' ',
      ),
    )
    const piece = fc.oneof(
      word,
      fc.string({ maxLength: 6 }),
      fc.constantFrom("'", '"', '`', '$$', '--', '/*', '*/', '\n'),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const sql = pieces.join(' ')
        expect(typeof rendered(sql, a, profile)).toBe('string')
      }),
      { numRuns: 2000 },
    )
  })

  it('never lets a table through that it did not write', () => {
    const table = fc.constantFrom('q1', 'q2', 'q3')
    const joined = fc
      .tuple(table, fc.constantFrom(' JOIN ', ', ', ' LEFT JOIN ', ' CROSS JOIN '), table)
      .map(([one, join, other]) => `${one} AS x${join}${other} AS y`)
    const from = fc.oneof(table, joined)
    const query = fc.letrec<{ query: string }>((tie) => ({
      query: fc.oneof(
        { depthSize: 'small' },
        from.map((one) => `SELECT c FROM ${one}`),
        fc.tuple(from, tie('query')).map(([one, sub]) => `SELECT c, (${sub}) FROM ${one} WHERE c IN (${sub})`),
        fc
          .tuple(tie('query'), tie('query'))
          .map(([one, other]) => `SELECT c FROM (${one}) s UNION SELECT c FROM (${other}) z, q2`),
        fc.tuple(tie('query'), from).map(([one, other]) => `WITH w AS (${one}) SELECT c FROM w, ${other}`),
        fc.tuple(from, tie('query')).map(([one, other]) => `SELECT c FROM ${one} JOIN (${other}) d ON c = 1, q3`),
      ),
    })).query
    fc.assert(
      fc.property(query, fc.constantFrom('', 'CREATE VIEW q1 AS ', 'INSERT INTO q2 '), (text, before) => {
        const written = rendered(before + text, a, profile)
        expect(written).not.toMatch(/^refused/)
        expect(written.replaceAll(/.t1+__q\d./g, '')).not.toMatch(/q\d/)
      }),
    )
  })
})
