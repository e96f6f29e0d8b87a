import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { canonicalRowKey, checkRowKey } from '../../src/util/row-key.ts'
import { describeWith } from '../servers/suite.ts'

describe('canonicalRowKey', () => {
  it.each([
    ['42', '42'],
    ['0042', '42'],
    ['-0', '0'],
    ['+0x2a', '42'],
    ['-0B11', '-3'],
    ['1_000', '1000'],
    ['0x', '0x'],
    ['4.2', '4.2'],
    ['42a', '42a'],
    ['Acme', 'Acme'],
    ['{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
    ['a0eebc999c0b4ef8bb6d6bb9bd380a11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ])('%j is %j', (key, form) => {
    expect(canonicalRowKey(key)).toBe(form)
    expect(canonicalRowKey(form)).toBe(form)
  })

  it('is read in no time, however long the key', () => {
    const start = performance.now()
    for (const sign of ['1', '0', '_', '-', '{', 'f']) canonicalRowKey(sign.repeat(255))
    expect(performance.now() - start).toBeLessThan(1000)
  })
})

describe('checkRowKey', () => {
  it('gives the key, or says what it may be without repeating what cannot be printed', () => {
    expect(checkRowKey('42')).toBe('42')
    for (const key of ['', ' 1', '1\t', 'a\0', '\udc00', '\u2003x', 'x'.repeat(256), 1, null, undefined, {}]) {
      expect(() => checkRowKey(key)).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_TENANT_INVALID' }))
    }
  })
})

/** Ways in which a number or a UUID could be written, right and wrong ones. */
const digits = fc.string({ unit: fc.constantFrom(...Array.from('00123_abxXoO-+ ')), minLength: 1, maxLength: 6 })
const number = fc.oneof(
  fc.integer({ min: -300, max: 300 }).chain((n) => {
    const size = String(Math.abs(n))
    const sign = n < 0 ? '-' : ''
    const radix = (prefix: string, base: number) => `${sign}${prefix}${Math.abs(n).toString(base)}`
    return fc.constantFrom(
      String(n),
      `${sign}0${size}`,
      `${sign}0_${size}`,
      `${sign}0_0${size}`,
      `+${size}`,
      radix('0x', 16),
      radix('0X', 16).toUpperCase(),
      radix('0o', 8),
      radix('0b', 2),
      radix('0x_', 16),
    )
  }),
  digits,
)
const id = fc.tuple(fc.constantFrom('a', 'b'), fc.constantFrom('c', 'd')).chain(([x, y]) => {
  const hex = `${x.repeat(16)}${y.repeat(16)}`
  const dashes = hex.replaceAll(/(.{4})(?!$)/g, '$1-')
  const usual = hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5')
  return fc.constantFrom(hex, hex.toUpperCase(), usual, usual.toUpperCase(), `{${usual}}`, dashes, `{${dashes}}`)
})

// Only what PostgreSQL itself takes for the same value counts.
for (const name of ['postgres15', 'postgres18'] as const) {
  describeWith([name], `row keys as ${name} reads them`, (servers) => {
    let client: pg.Client
    beforeAll(async () => {
      client = new pg.Client({ connectionString: servers[name].url })
      await client.connect()
      await client.query(`create function pg_temp.read(key text, type text) returns text language plpgsql as
        $$ declare value text; begin execute format('select %L::%s::text', key, type) into value; return value; exception when data_exception then return null; end $$`)
    })
    afterAll(() => client?.end())

    /** What each type makes of each key. */
    const values = async (keys: readonly string[]) =>
      (
        await client.query<{ type: string; value: string; key: string }>(
          `select type, key, pg_temp.read(key, type) as value from unnest($1::text[]) key,
             unnest(array['integer', 'bigint', 'uuid', 'text', 'varchar']) type
           where pg_temp.read(key, type) is not null`,
          [keys],
        )
      ).rows

    it('no two keys that one type reads as the same value have two canonical forms', async () => {
      let shared = 0
      await fc.assert(
        fc.asyncProperty(fc.uniqueArray(fc.oneof(number, id), { minLength: 20, maxLength: 60 }), async (keys) => {
          const usable = keys.filter((key) => key.trim() === key)
          const forms = new Map<string, Set<string>>()
          for (const { type, value, key } of await values(usable)) {
            const of = `${type} ${value}`
            const known = forms.get(of) ?? new Set()
            if (known.size > 0) shared++
            forms.set(of, known.add(canonicalRowKey(key)))
          }
          expect([...forms].filter(([, known]) => known.size > 1)).toEqual([])
        }),
        { numRuns: 30 },
      )
      expect(shared).toBeGreaterThan(100)
    })
  })
}
