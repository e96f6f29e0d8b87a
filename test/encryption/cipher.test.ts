import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { SecretPlace } from '../../src/contracts/cipher.ts'
import { type CipherOptions, createCipher, noCipher } from '../../src/encryption/cipher.ts'
import { fernetReader } from '../../src/encryption/fernet.ts'
import { type EncryptionKey, parseEncryptionKey } from '../../src/encryption/keys.ts'

const key = (id: string, bytes = randomBytes(32)) =>
  parseEncryptionKey(`${id}:${bytes.toString('base64')}`) as EncryptionKey
const cipherOf = (options: Partial<CipherOptions> = {}) =>
  createCipher({ current: key('k1'), allowPlaintext: false, ...options })
const place: SecretPlace = { tenantId: '6f1c0a52-0000-4000-8000-000000000001', field: '/_enc_token' }

describe('createCipher', () => {
  it('gives back any JSON value, and stores none of it in clear', async () => {
    const cipher = cipherOf()
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), fc.string(), fc.string(), async (value, tenantId, field) => {
        const stored = await cipher.seal(value, { tenantId, field })
        expect(stored).toMatch(/^enc:1:k1:[A-Za-z0-9_-]+$/)
        expect(cipher.isCurrent(stored)).toBe(true)
        expect(await cipher.open(stored, { tenantId, field })).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
    expect(await cipher.seal('the secret itself', place)).not.toContain('the secret itself')
  })

  it('never writes one value twice alike', async () => {
    const cipher = cipherOf()
    const all = await Promise.all(Array.from({ length: 1000 }, () => cipher.seal('x', place)))
    expect(new Set(all).size).toBe(1000)
  })

  it('reads what Python seals by the same rules', async () => {
    /*
     * test/fixtures/envelopes.json, by Python's `cryptography`:
     *   aad = json.dumps(["fastify-tenancy", "enc:1:k1", tenant, field], separators=(",", ":")).encode()
     *   "enc:1:k1:" + base64url(iv + AESGCM(key).encrypt(iv, json_text, aad))
     */
    const { key: text, vectors } = JSON.parse(
      readFileSync(new URL('../fixtures/envelopes.json', import.meta.url), 'utf8'),
    ) as { key: string; vectors: (SecretPlace & { value: unknown; stored: string })[] }
    const cipher = cipherOf({ current: parseEncryptionKey(text) as EncryptionKey })
    expect(vectors).toHaveLength(5)
    for (const { value, stored, ...bound } of vectors) expect(await cipher.open(stored, bound)).toEqual(value)
  })

  it('[W44] does not open a value that was moved to another tenant or another field', async () => {
    const cipher = cipherOf()
    const stored = await cipher.seal('s3cret', place)
    const elsewhere: SecretPlace[] = [
      { ...place, tenantId: '6f1c0a52-0000-4000-8000-000000000002' },
      { ...place, field: '/_enc_other' },
      { ...place, field: '/smtp/_enc_token' },
      { tenantId: `${place.tenantId}","${place.field}`, field: '' },
    ]
    for (const other of elsewhere) {
      await expect(cipher.open(stored, other)).rejects.toMatchObject({ code: 'TENANCY_ERR_SECRET_UNREADABLE' })
    }
    expect(await cipher.open(stored, place)).toBe('s3cret')
  })

  it('does not open a value of which one bit was changed, or the name of the key', async () => {
    const same = randomBytes(32)
    const cipher = cipherOf({ current: key('k1', same), older: [key('k2', same)] })
    const stored = await cipher.seal('s3cret', place)
    const start = stored.lastIndexOf(':') + 1
    const bytes = Buffer.from(stored.slice(start), 'base64url')
    for (let at = 0; at < bytes.length * 8; at++) {
      const changed = Buffer.from(bytes)
      changed[at >> 3] = (changed[at >> 3] ?? 0) ^ (1 << (at & 7))
      const text = `${stored.slice(0, start)}${changed.toString('base64url')}`
      await expect(cipher.open(text, place)).rejects.toMatchObject({ code: 'TENANCY_ERR_SECRET_UNREADABLE' })
    }
    await expect(cipher.open(stored.replace(':k1:', ':k2:'), place)).rejects.toThrow(/"k2" does not open it/)
    for (let length = 0; length < bytes.length; length++) {
      const text = `${stored.slice(0, start)}${bytes.subarray(0, length).toString('base64url')}`
      await expect(cipher.open(text, place)).rejects.toMatchObject({ code: 'TENANCY_ERR_SECRET_UNREADABLE' })
    }
  })

  it('[W44] rotates: older keys read, the current one writes', async () => {
    const [first, second] = [key('2025'), key('2026')]
    const before = await cipherOf({ current: first }).seal('s3cret', place)
    const cipher = cipherOf({ current: second, older: [first] })
    expect(await cipher.open(before, place)).toBe('s3cret')
    expect(cipher.isCurrent(before)).toBe(false)
    const after = await cipher.seal('s3cret', place)
    expect(after).toMatch(/^enc:1:2026:/)
    expect(cipher.isCurrent(after)).toBe(true)
  })

  it('[W44] names the key that is missing or wrong, and never a value', async () => {
    const stored = await cipherOf({ current: key('gone') }).seal('s3cret', place)
    const missing: unknown = await cipherOf()
      .open(stored, place)
      .catch((error: unknown) => error)
    const wrong: unknown = await cipherOf({ current: key('gone') })
      .open(stored, place)
      .catch((error: unknown) => error)
    expect(missing).toMatchObject({ code: 'TENANCY_ERR_SECRET_UNREADABLE', statusCode: 500 })
    expect(String(missing)).toContain('the key "gone" is not configured')
    expect(String(wrong)).toContain('the key "gone" does not open it')
    for (const error of [missing, wrong]) {
      for (const part of ['s3cret', stored, stored.slice(-12), place.tenantId])
        expect(String(error)).not.toContain(part)
    }
  })

  it.each([
    'enc::hello',
    'enc::',
    'enc:1:k1:',
    'enc:1:k1:AAAA',
    'enc:1:k1:x y',
    'enc:3:k1:AAAA',
    'enc:2:k1:AAAA:AAAA',
    'enc:',
  ])(
    '[W44] seals the text %s like any other, and takes it for no clear text where it is stored as it is',
    async (text) => {
      const fernet = fernetReader('0123456789abcdef0123456789abcdef')
      const cipher = cipherOf({ fernet, allowPlaintext: true })
      expect(await cipher.open(await cipher.seal(text, place), place)).toBe(text)
      await expect(cipher.open(text, place)).rejects.toMatchObject({ code: 'TENANCY_ERR_SECRET_UNREADABLE' })
    },
  )

  it('[W44] seals an envelope as text: what it holds does not come out', async () => {
    const cipher = cipherOf()
    const stolen = await cipher.seal('of another tenant', { ...place, tenantId: 'another' })
    expect(await cipher.open(await cipher.seal(stolen, place), place)).toBe(stolen)
  })

  it('says that a passphrase is missing', async () => {
    await expect(cipherOf({ allowPlaintext: true }).open('enc::gAAAA', place)).rejects.toThrow(/encryptionPassphrase/)
  })

  it.each(['hello', '', 42, false, { a: 1 }, ['x']])(
    'gives %j, which is stored in clear, only where allowed',
    async (value) => {
      expect(await cipherOf({ allowPlaintext: true }).open(value, place)).toEqual(value)
      await expect(cipherOf().open(value, place)).rejects.toMatchObject({ code: 'TENANCY_ERR_SECRET_IN_CLEAR' })
      expect(cipherOf({ allowPlaintext: true }).isCurrent(value)).toBe(false)
    },
  )

  it('without a key, neither writes nor reads', async () => {
    const off = { code: 'TENANCY_ERR_ENCRYPTION_OFF' }
    await expect(noCipher.seal('x', place)).rejects.toMatchObject(off)
    await expect(noCipher.open('x', place)).rejects.toMatchObject(off)
  })
})
