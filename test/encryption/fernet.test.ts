import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { FERNET_MARKER, fernetReader } from '../../src/encryption/fernet.ts'

/*
 * test/fixtures/fernet.json was made once by Python's `cryptography`, as fastapi-tenancy uses it (utils/encryption.py):
 *
 *   def fernet(passphrase):
 *       key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"fastapi-tenancy-v1").derive(passphrase.encode())
 *       return Fernet(base64.urlsafe_b64encode(key))
 *   stored = "enc::" + fernet(passphrase).encrypt(text.encode()).decode()
 */
const { vectors } = JSON.parse(readFileSync(new URL('../fixtures/fernet.json', import.meta.url), 'utf8')) as {
  vectors: { passphrase: string; values: { text: string; stored: string }[] }[]
}
const tokenOf = (stored: string) => stored.slice(FERNET_MARKER.length)

describe('[W44] values of fastapi-tenancy', () => {
  it.each(vectors)('are read with $passphrase', ({ passphrase, values }) => {
    expect(values).toHaveLength(8)
    const read = fernetReader(passphrase)
    for (const { text, stored } of values) expect(read(tokenOf(stored))).toBe(text)
  })

  it('are not read with another passphrase', () => {
    const read = fernetReader('another passphrase of 32 letters')
    for (const { values } of vectors) for (const { stored } of values) expect(read(tokenOf(stored))).toBeUndefined()
  })

  it('are not read when a single bit was changed, or when they were cut', () => {
    const [vector] = vectors
    const read = fernetReader(vector?.passphrase ?? '')
    const bytes = Buffer.from(tokenOf(vector?.values[1]?.stored ?? ''), 'base64url')
    expect(read(bytes.toString('base64url'))).toBe('a')
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(read(changed.toString('base64url'))).toBeUndefined()
    }
    for (let length = 0; length < bytes.length; length++) {
      expect(read(bytes.subarray(0, length).toString('base64url'))).toBeUndefined()
    }
  })

  it('are never read from text that is none', () => {
    const read = fernetReader('0123456789abcdef0123456789abcdef')
    for (const text of ['', 'hello', '!!!!', 'x'.repeat(10_000)]) expect(read(text)).toBeUndefined()
  })
})
