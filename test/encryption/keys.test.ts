import { randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import { expect, it } from 'vitest'
import { parseEncryptionKey } from '../../src/encryption/keys.ts'

const bytes = Buffer.from('fb'.repeat(32), 'hex')
const base64 = bytes.toString('base64')

it.each([base64, base64.slice(0, -1), bytes.toString('base64url')])('takes 32 bytes as %s', (text) => {
  const parsed = parseEncryptionKey(`k-1_A:${text}`)
  expect(parsed?.id).toBe('k-1_A')
  expect(parsed?.key.export().equals(bytes)).toBe(true)
})

it('takes any 32 bytes', () => {
  for (let n = 0; n < 500; n++) {
    const key = randomBytes(32)
    expect(
      parseEncryptionKey(`k:${key.toString('base64')}`)
        ?.key.export()
        .equals(key),
    ).toBe(true)
  }
})

it.each([
  ['no name', base64],
  ['an empty name', `:${base64}`],
  ['a name of 33 letters', `${'k'.repeat(33)}:${base64}`],
  ['a name with a colon', `a:b:${base64}`],
  ['a name with a dot', `a.b:${base64}`],
  ['31 bytes', `k:${randomBytes(31).toString('base64')}`],
  ['33 bytes', `k:${randomBytes(33).toString('base64')}`],
  ['the last letter in a form that no encoder writes', `k:${base64.slice(0, 42)}t=`],
  ['hexadecimal digits', `k:${'ab'.repeat(32)}`],
  ['a passphrase', 'correct horse battery staple, and more'],
  ['a line break at the end', `k:${base64}\n`],
  ['nothing', ''],
])('[W44] refuses %s', (_what, text) => {
  expect(parseEncryptionKey(text)).toBeUndefined()
})

it('does not print what it holds', () => {
  const parsed = parseEncryptionKey(`k:${base64}`)
  const hex = bytes.toString('hex')
  for (const printed of [
    inspect(parsed, { depth: 9, showHidden: true }),
    JSON.stringify(parsed),
    `${parsed?.key.type}`,
  ]) {
    expect(printed).not.toContain(base64.slice(0, 8))
    expect(printed).not.toContain(hex.slice(0, 8))
  }
})
