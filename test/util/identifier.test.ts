import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  assertRegistrable,
  defaultReservedIdentifiers,
  generateNamespace,
  isReserved,
  parseIdentifier,
  quoteReceived,
} from '../../src/util/identifier.ts'

const rule = /^[a-z][a-z0-9-]{1,61}[a-z0-9]$/

describe('parseIdentifier', () => {
  it.each(['abc', 'acme', 'a-b', 'a--b', 'acme--corp', 'a1b2', `a${'b'.repeat(62)}`])('takes %j as it is', (value) => {
    expect(parseIdentifier(value)).toBe(value)
  })

  it.each([
    '',
    'ab',
    `a${'b'.repeat(63)}`,
    'Acme',
    'ACME',
    '1acme',
    '-acme',
    'acme-',
    'ac me',
    ' acme',
    'acme ',
    'acme\t',
    'acme.other',
    'acme_corp',
    'pg_catalog',
    "acme'--",
    'acme"',
    'acme;drop',
    'acme/../beta',
    'acme%2Fbeta',
    'acme\0',
    'ac\0me',
    'аcme', // Cyrillic а
    'aᏟme',
    'ac\u212Ae', // Kelvin sign
    'acme\u200B',
    'ａｃｍｅ',
  ])('refuses %j', (value) => {
    expect(parseIdentifier(value)).toBeUndefined()
  })

  it.each(['acme\n', 'acme\r\n', '\nacme', 'acme\nbeta', 'acme\u2028'])('[W48] refuses a newline: %j', (value) => {
    expect(parseIdentifier(value)).toBeUndefined()
  })

  it.each(['xn--bcher-kva', 'xn--acme', 'ab--cd', 'zz--'])('refuses the IDNA-reserved label %s', (value) => {
    expect(parseIdentifier(value)).toBeUndefined()
  })

  it.each([undefined, null, 7, 42n, true, {}, ['acme'], new String('acme'), () => 'acme', Symbol('acme')])(
    'refuses what is no string (case %#)',
    (value) => {
      expect(parseIdentifier(value)).toBeUndefined()
    },
  )

  it('gives a slug or nothing, whatever the input', () => {
    const nearMiss = fc.string({ unit: fc.constantFrom(...Array.from('abz019-._ \n\0Aé%/')), maxLength: 70 })
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.string({ unit: 'binary' }), nearMiss), (value) => {
        const identifier = parseIdentifier(value)
        if (identifier === undefined) return
        expect(identifier).toBe(value)
        expect(identifier).toMatch(rule)
        expect(identifier).not.toContain('\n')
      }),
      { numRuns: 2000 },
    )
  })

  it('takes every slug of the rule, except with "--" in third place', () => {
    fc.assert(
      fc.property(fc.stringMatching(rule), (value) => {
        const reserved = value.slice(2, 4) === '--'
        expect(parseIdentifier(value)).toBe(reserved ? undefined : value)
      }),
    )
  })

  it('refuses over-long input in constant time', () => {
    const huge = ['a'.repeat(64 * 1024), '-'.repeat(64 * 1024), `${'a'.repeat(64 * 1024)}\n`]
    const start = performance.now()
    for (let i = 0; i < 1000; i++) for (const value of huge) expect(parseIdentifier(value) === undefined).toBe(true)
    expect(performance.now() - start).toBeLessThan(500)
  })
})

describe('assertRegistrable', () => {
  it('lets a free slug pass', () => {
    expect(() => assertRegistrable('acme', defaultReservedIdentifiers)).not.toThrow()
  })

  it.each(['www', 'api', 'admin', 'app', 'mail', 'localhost', 'internal', 'system', 'root', 'public', 'tenancy'])(
    '[W48] refuses the reserved %s',
    (value) => {
      expect(isReserved(value, defaultReservedIdentifiers)).toBe(true)
      expect(() => assertRegistrable(value, defaultReservedIdentifiers)).toThrowError(
        expect.objectContaining({ code: 'TENANCY_ERR_IDENTIFIER_INVALID', statusCode: 400 }),
      )
    },
  )

  it('takes the reserved set it is given, not the default one', () => {
    expect(() => assertRegistrable('www', new Set())).not.toThrow()
    expect(() => assertRegistrable('acme', new Set(['acme']))).toThrowError(/"acme" is reserved; choose another one\./)
    expect(isReserved('www', new Set())).toBe(false)
  })

  it('says what was received and the rule', () => {
    expect(() => assertRegistrable('Acme\n', new Set())).toThrowError(
      /Invalid tenant identifier: received "Acme\\n"; it must have 3 to 63 characters .*start with a letter/,
    )
    expect(() => assertRegistrable(undefined, new Set())).toThrowError(/received undefined;/)
  })

  it('reserves only what could be registered otherwise', () => {
    for (const value of defaultReservedIdentifiers) expect(parseIdentifier(value)).toBe(value)
  })
})

describe('quoteReceived', () => {
  it('quotes a string and names the type of anything else', () => {
    expect(quoteReceived('acme')).toBe('"acme"')
    expect(quoteReceived('a"b\\')).toBe('"a\\"b\\\\"')
    expect(quoteReceived('\u202Eemca')).toBe('"\\u202eemca"')
    expect(quoteReceived(null)).toBe('null')
    expect(quoteReceived({ toString: () => 'secret' })).toBe('object')
    expect(quoteReceived(7n)).toBe('bigint')
  })

  it('gives at most 80 printable ASCII characters, whatever the input', () => {
    const long = fc.string({ unit: 'binary', minLength: 70, maxLength: 200 })
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.string({ unit: 'binary' }), long), (value) => {
        expect(quoteReceived(value)).toMatch(/^[\x20-\x7e]{1,80}$/)
      }),
    )
    expect(quoteReceived('a'.repeat(64 * 1024))).toBe(`"${'a'.repeat(75)}..."`)
    expect(quoteReceived('a'.repeat(78))).toBe(`"${'a'.repeat(78)}"`)
    expect(quoteReceived('a'.repeat(79))).toBe(`"${'a'.repeat(75)}..."`)
  })
})

describe('generateNamespace', () => {
  it('writes the 128 bits as 25 digits', () => {
    expect(generateNamespace('00000000-0000-0000-0000-000000000000')).toBe(`t${'0'.repeat(25)}`)
    expect(generateNamespace('00000000-0000-0000-0000-000000000024')).toBe(`t${'0'.repeat(23)}10`)
    expect(generateNamespace('ffffffff-ffff-ffff-ffff-ffffffffffff')).toBe('tf5lxx1zz5pnorynqglhzmsp33')
  })

  it('[schema-6] has a fixed shape and loses no bit', () => {
    fc.assert(
      fc.property(fc.uuid(), (id) => {
        const namespace = generateNamespace(id)
        expect(namespace).toMatch(/^t[0-9a-z]{25}$/)
        const digits = Array.from(namespace.slice(1), (digit) => BigInt(Number.parseInt(digit, 36)))
        const bits = digits.reduce((sum, digit) => sum * 36n + digit, 0n)
        expect(bits.toString(16).padStart(32, '0')).toBe(id.replaceAll('-', ''))
      }),
    )
  })

  it('[schema-6] is injective, also for neighbours', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.uuid(), (a, b) => {
        expect(generateNamespace(a) === generateNamespace(b)).toBe(a === b)
      }),
    )
    const neighbours = Array.from(
      { length: 1000 },
      (_, i) => `0000${i.toString(16).padStart(4, '0')}-0000-4000-8000-${i.toString(16).padStart(12, '0')}`,
    )
    expect(new Set(neighbours.map(generateNamespace)).size).toBe(1000)
  })

  it('takes a UUID in any case for the same one', () => {
    const id = '018f3b1c-7d2a-7abc-8def-0123456789ab'
    expect(generateNamespace(id.toUpperCase())).toBe(generateNamespace(id))
  })

  it.each([
    '',
    'acme',
    '018f3b1c7d2a7abc8def0123456789ab',
    '018f3b1c-7d2a-7abc-8def-0123456789ag',
    '018f3b1c-7d2a-7abc-8def-0123456789ab\n',
    '{018f3b1c-7d2a-7abc-8def-0123456789ab}',
    "018f3b1c-7d2a-7abc-8def-0123456789a'",
  ])('refuses %j, which is no UUID', (id) => {
    expect(() => generateNamespace(id)).toThrowError(expect.objectContaining({ code: 'TENANCY_ERR_TENANT_INVALID' }))
  })
})
