import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { foldText } from '../../src/util/fold-text.ts'

describe('foldText', () => {
  it.each([
    ['ACME', 'acme'],
    ['Straße', 'STRASSE'],
    ['STRAẞE', 'strasse'],
    ['ΟΔΟΣ', 'οδος'],
    ['ΟΔΟΣ', 'οδοσ'],
    ['É', 'e\u0301'],
    ['Ａ', 'a'],
    ['\u212a', 'k'],
    ['a\u00a0\t\n b', 'A B'],
  ])('makes %j and %j one', (a, b) => {
    expect(foldText(a)).toBe(foldText(b))
  })

  it.each([
    ['é', 'e'],
    ['ı', 'j'],
    ['o', '0'],
    ['ab', 'a b'],
  ])('keeps %j and %j apart', (a, b) => {
    expect(foldText(a)).not.toBe(foldText(b))
  })

  it('leaves identifiers as they are, and folding twice changes nothing', () => {
    const identifier = fc.stringMatching(/^[a-z][a-z0-9-]{1,61}[a-z0-9]$/)
    fc.assert(fc.property(identifier, (text) => foldText(text) === text))
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (text) => foldText(foldText(text)) === foldText(text)))
  })
})
