import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { identifierName, leadingKeyword, tokenize } from '../../../src/dialects/postgres/lexer.ts'

const shape = (sql: string) => tokenize(sql).map(({ kind, text }) => [kind, text])
const significant = (sql: string) => shape(sql).filter(([kind]) => kind !== 'whitespace')

/** Pieces that make every kind of token likely to begin, end and be cut in the middle. */
const pieces = String.raw`' '' E' e'\ U&' U&" B' x' N' " "" $$ $a$ $a $1 /* */ -- \ ; :: := .. . 1 1. 1e 0x1F 1_0 + - @ a public ( ) , => <@`
const fragment = fc.oneof(
  fc.constantFrom(...pieces.split(' '), ' ', '\n', '\r', '\f', '\v', 'É', '\u00a0', '\0', '\u{1f600}'),
  fc.string({ unit: 'binary', maxLength: 4 }),
)
const text = fc.array(fragment, { maxLength: 40 }).map((parts) => parts.join(''))

describe('tokenize', () => {
  test('gives back every character of any text, in order, never an empty token', () => {
    fc.assert(
      fc.property(text, (sql) => {
        const tokens = tokenize(sql)
        expect(tokens.map((token) => token.text).join('')).toBe(sql)
        let at = 0
        for (const token of tokens) {
          expect(token.start).toBe(at)
          expect(token.text).not.toBe('')
          at += token.text.length
        }
      }),
      { numRuns: 5000 },
    )
  })

  test('only the last token can be unterminated', () => {
    fc.assert(
      fc.property(text, (sql) => {
        const kinds = tokenize(sql).map((token) => token.kind)
        expect(kinds.slice(0, -1)).not.toContain('unterminated')
      }),
      { numRuns: 2000 },
    )
  })

  test.each([
    ['string', `'it''s -- no /* comment */ "here" $$'`],
    ['string', String.raw`E'a\'b''c'`],
    ['string', String.raw`'a\'`],
    ['string', String.raw`U&'\0061'`],
    ['string', `B'0101'`],
    ['string', `x'1F'`],
    ['string', `n'x'`],
    ['string', "'a'\n  'b'"],
    ['string', "E'a' -- note\n -- and\r 'b\\''"],
    ['quoted-identifier', '"a""b.c"'],
    ['unicode-identifier', String.raw`U&"\0061"`],
    ['dollar-string', '$$a $ b $x$ c$$'],
    ['dollar-string', '$fn$ begin $$ x $$; end $fn$'],
    ['dollar-string', '$$ $a$$'],
    ['dollar-string', '$été$ x $été$'],
    ['line-comment', "-- it's"],
    ['block-comment', '/* a /* b */ c */'],
    ['block-comment', '/*/ a */'],
    ['block-comment', '/* a **/'],
    ['number', '0x1_F'],
    ['number', '1_000.5e-3'],
    ['number', '.5'],
    ['number', '1.'],
    ['parameter', '$12'],
    ['word', 'a$b$c'],
    ['word', 'naïve_1'],
    ['word', '\u00a0'],
    ['whitespace', ' \t\r\n\f\v'],
    ['operator', '@-'],
    ['operator', '<='],
    ['operator', '::'],
  ])('%s: %j is one token', (kind, sql) => {
    expect(shape(sql)).toEqual([[kind, sql]])
  })

  test.each(["'a", "'a''", "E'a\\'", '"a', '"a""', '$$a$', '$a$ $b$', '/* a /* b */', "U&'a", "N'", "B'0"])(
    '%j is not closed',
    (sql) => {
      expect(shape(sql)).toEqual([['unterminated', sql]])
    },
  )

  test.each<[string, string[]]>([
    ['a.b', ['a', '.', 'b']],
    ['a--b', ['a', '--b']],
    ['--b\rc', ['--b', '\r', 'c']],
    ['+/*c*/-', ['+', '/*c*/', '-']],
    ['=-1', ['=', '-', '1']],
    ['+-@', ['+-@']],
    ['*+-', ['*', '+', '-']],
    ['1..2', ['1', '..', '2']],
    ['1.5.2', ['1.5', '.2']],
    ['a:=b', ['a', ':=', 'b']],
    ['foo$$bar$$', ['foo$$bar$$']],
    ['1$$bar$$', ['1', '$$bar$$']],
    ['$1$$bar$$', ['$1', '$$bar$$']],
    ['$a b', ['$', 'a', ' ', 'b']],
    ["'a' 'b'", ["'a'", ' ', "'b'"]],
    ["'a' /*c*/\n'b'", ["'a'", ' ', '/*c*/', '\n', "'b'"]],
    ["B'0''1'", ["B'0'", "'1'"]],
    ["ee'a'", ['ee', "'a'"]],
    ["u& 'a'", ['u', '&', ' ', "'a'"]],
  ])('%j', (sql, texts) => {
    expect(tokenize(sql).map((token) => token.text)).toEqual(texts)
  })

  test('names the delimiter of a dollar-quoted string', () => {
    expect(tokenize('$fn$x$fn$')[0]).toMatchObject({ kind: 'dollar-string', delimiter: '$fn$' })
  })

  test('tells punctuation from words', () => {
    expect(significant('f(a, b[1]);')).toEqual([
      ['word', 'f'],
      ['operator', '('],
      ['word', 'a'],
      ['operator', ','],
      ['word', 'b'],
      ['operator', '['],
      ['number', '1'],
      ['operator', ']'],
      ['operator', ')'],
      ['operator', ';'],
    ])
  })

  test.each<[string, string]>([
    ['signs', '+-'],
    ['plus', '+'],
    ['stars', '*+'],
    ['quotes', "'' "],
    ['continued strings', "'a'\n"],
    ['comment openings', '/*'],
    ['dollars', '$a'],
    ['opened dollars', '$a$b'],
    ['lines of comment', "'a' -- x\n"],
  ])('takes linear time for many %s', (_, piece) => {
    // Eight times the text in eight times the time; quadratic would be 64 times. Of this process only, and the best of three,
    // with room for what collects garbage.
    const cost = (length: number) => {
      const text = piece.repeat(length / piece.length)
      const times = Array.from({ length: 3 }, () => {
        const before = process.cpuUsage()
        tokenize(text)
        return process.cpuUsage(before).user
      })
      return Math.min(...times)
    }
    cost(50_000)
    expect(cost(400_000)).toBeLessThan(24 * cost(50_000) + 250_000)
  })
})

describe('identifierName', () => {
  test.each([
    ['PUBLIC', 'public'],
    ['"PUBLIC"', 'PUBLIC'],
    ['"a""b"', 'a"b'],
    ['\u212aEY', '\u212aey'],
  ])('%s is %s', (sql, name) => {
    expect(tokenize(sql).map(identifierName)).toEqual([name])
  })

  test('is undefined for what is no identifier', () => {
    expect(tokenize(`'a'1.$1 U&"a"`).map(identifierName)).toEqual(Array(5).fill(undefined))
  })
})

describe('leadingKeyword', () => {
  test.each([
    ['select 1', 'select'],
    ['COMMIT', 'commit'],
    ['  \t\n\r\f\vCall p()', 'call'],
    ['; /* x */ call p()', 'call'],
    [';;/* a /* b */ */-- c\rDO $$x$$', 'do'],
    ['-- c\nbegin', 'begin'],
    ['--c', ''],
    ['/* call p()', ''],
    ['/* a /* b */ call p()', ''],
    ['(select 1)', ''],
    ['"call" p()', ''],
    ['', ''],
    [' ; ', ''],
    ['end;', 'end'],
    ['set/**/role x', 'set'],
    ['roll\u00a0back', 'roll\u00a0back'],
    ['ROLLBAC\u212a', 'rollbac\u212a'],
    ['-1', ''],
    ['/1', ''],
  ])('%j → %j', (sql, keyword) => {
    expect(leadingKeyword(sql)).toBe(keyword)
  })

  test('agrees with the tokens', () => {
    fc.assert(
      fc.property(text, (sql) => {
        const first = tokenize(sql).find(
          ({ kind, text: own }) => !['whitespace', 'line-comment', 'block-comment'].includes(kind) && own !== ';',
        )
        const word = leadingKeyword(sql)
        if (first?.kind === 'word') expect(word).toBe(identifierName(first))
        // A string with a prefix begins with a letter, and no statement begins with a string.
        else if (word !== '') expect(word).toMatch(/^[ebxnu]$/)
      }),
      { numRuns: 2000 },
    )
  })
})
