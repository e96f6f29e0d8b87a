import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { issueTexts } from '../../src/tenants/issue-texts.ts'

const at = (message: unknown, value: unknown, path = ['plan']) => issueTexts([{ path, message } as never], value)

describe('what a schema says', () => {
  it('is told with the path, in one line and cut short', () => {
    const schema = z.object({ plan: z.enum(['free', 'pro'], 'Wählen Sie einen\nTarif'), seats: z.number().max(10) })
    const value = { plan: 'gold', seats: 'many' }
    const { error } = schema.safeParse(value)
    expect(issueTexts(error?.issues ?? [], value)).toBe(
      '"plan" (Wählen Sie einen Tarif), "seats" (Invalid input: expected number, received string)',
    )
    expect(at('x'.repeat(1000), {})).toHaveLength('"plan" ()'.length + 200)
    for (const message of [undefined, 5, '', ' \n']) expect(at(message, {})).toBe('"plan"')
  })

  it.each([
    ['as valibot', 'Invalid type: Expected number but received "hunter2"', { plan: 'hunter2' }],
    ['as ArkType', 'must be a number (was "correct horse battery")', { plan: 'correct horse battery' }],
    ['cut short', 'must be a number (was "correct ho…")', { plan: 'correct horse battery' }],
    ['in capitals', 'not HUNTER2', { plan: 'hunter2' }],
    ['escaped', 'was "a\\"b"', { plan: 'a"b' }],
    ['on one line', 'was a b', { plan: 'a\nb' }],
    ['a number', 'must be 1 (was 4711)', { plan: 4711 }],
    ['of another place', 'does not go with s3cr3t', { plan: 'x', deep: [{ key: 's3cr3t' }] }],
  ])('is left out where it shows a value: %s', (_what, message, value) => {
    expect(at(message, value)).toBe('"plan"')
  })

  it('is kept where a short value is only part of a word', () => {
    expect(at('must be at most 10 seats', { plan: 1, other: 'at m' })).toContain('at most 10')
  })
})
