import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto'
import { beforeEach, describe, expect, it } from 'vitest'
import { createLru } from '../../src/cache/lru.ts'
import type { KeyManagement } from '../../src/contracts/cipher.ts'
import { createCipher } from '../../src/encryption/cipher.ts'
import { type EncryptionKey, parseEncryptionKey } from '../../src/encryption/keys.ts'
import { createDataKeys } from '../../src/encryption/data-keys.ts'

const place = { tenantId: '6f1c0a52-0000-4000-8000-000000000001', field: '/_enc_token' }

/** A key management service in this process: its master key wraps by AES-256-GCM. Calls are counted, and can fail. */
function localKms(master = randomBytes(32)) {
  const calls = { wrap: 0, unwrap: 0 }
  const state = { down: false }
  const kms: Required<KeyManagement> = {
    id: 'kms-1',
    async wrap(dataKey) {
      calls.wrap++
      if (state.down) throw new TypeError('no route to host')
      const iv = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', master, iv)
      return Buffer.concat([iv, cipher.update(dataKey), cipher.final(), cipher.getAuthTag()])
    },
    async unwrap(wrapped) {
      calls.unwrap++
      if (state.down) throw new TypeError('no route to host')
      const decipher = createDecipheriv('aes-256-gcm', master, wrapped.subarray(0, 12))
      decipher.setAuthTag(wrapped.subarray(-16))
      return Buffer.concat([decipher.update(wrapped.subarray(12, -16)), decipher.final()])
    },
  }
  return { kms, calls, state }
}

describe('an external key management service', () => {
  let service: ReturnType<typeof localKms>
  let time: number
  /** Another process: it remembers nothing. */
  const process = (kms: KeyManagement = service.kms) => {
    const known = createLru<KeyObject>({ max: 10 })
    const dataKeys = createDataKeys({ kms, known, now: () => time })
    return createCipher({ current: { id: kms.id, dataKeys }, allowPlaintext: false })
  }

  beforeEach(() => {
    service = localKms()
    time = 0
  })

  it('is asked once by 1000 who write at once, and once by 1000 who read in another process', async () => {
    const writer = process()
    const stored = await Promise.all(Array.from({ length: 1000 }, (_, n) => writer.seal(n, place)))
    expect(service.calls).toEqual({ wrap: 1, unwrap: 0 })
    expect(await writer.open(stored[0], place)).toBe(0)
    expect(service.calls.unwrap).toBe(0)
    const reader = process()
    expect(await Promise.all(stored.map((text) => reader.open(text, place)))).toEqual(stored.map((_, n) => n))
    expect(await reader.open(stored[7], place)).toBe(7)
    expect(service.calls).toEqual({ wrap: 1, unwrap: 1 })
  })

  it('gives a new data key each hour; the older stay readable', async () => {
    const cipher = process()
    const first = await cipher.seal('a', place)
    time = 3_599_999
    expect((await cipher.seal('b', place)).split(':')[3]).toBe(first.split(':')[3])
    time = 3_600_000
    expect((await cipher.seal('c', place)).split(':')[3]).not.toBe(first.split(':')[3])
    expect(service.calls.wrap).toBe(2)
    expect(await cipher.open(first, place)).toBe('a')
  })

  it('that is away is a coded error with its own as the cause, and is asked again by the next', async () => {
    const stored = await process().seal('s3cret', place)
    const cipher = process()
    service.state.down = true
    const away = { code: 'TENANCY_ERR_KMS_UNAVAILABLE', statusCode: 503, cause: { message: 'no route to host' } }
    await expect(cipher.open(stored, place)).rejects.toMatchObject(away)
    await expect(cipher.seal('x', place)).rejects.toMatchObject(away)
    service.state.down = false
    expect(await cipher.open(stored, place)).toBe('s3cret')
    expect(await cipher.open(await cipher.seal('x', place), place)).toBe('x')
  })

  it.each([
    ['nothing', undefined],
    ['a text', 'x'.repeat(32)],
    ['no bytes', new Uint8Array()],
    ['31 bytes', randomBytes(31)],
  ])('that gives %s as a data key is not believed', async (_what, answer) => {
    const stored = await process().seal('s3cret', place)
    const odd = process({ ...service.kms, unwrap: async () => answer as Uint8Array })
    await expect(odd.open(stored, place)).rejects.toMatchObject({ code: 'TENANCY_ERR_KMS_UNAVAILABLE' })
  })

  it('cannot be told another data key: the wrapped one is bound to what it sealed', async () => {
    const cipher = process()
    const [first, second] = [await cipher.seal('a', place), await process().seal('b', place)]
    const mixed = [...first.split(':').slice(0, 3), second.split(':')[3], first.split(':')[4]].join(':')
    await expect(cipher.open(mixed, place)).rejects.toMatchObject({ code: 'TENANCY_ERR_SECRET_UNREADABLE' })
  })

  it('does not see a secret, and wipes a copy of the data key', async () => {
    const seen: number[] = []
    const wiping: KeyManagement = {
      ...service.kms,
      async wrap(bytes) {
        seen.push(bytes.length)
        const wrapped = await service.kms.wrap(bytes)
        bytes.fill(0)
        return wrapped
      },
    }
    const stored = await process(wiping).seal('s3cret', place)
    expect(seen).toEqual([32])
    expect(await process().open(stored, place)).toBe('s3cret')
  })

  it('is not asked for what a key of that name sealed, nor a key for what it wrapped', async () => {
    const stored = await process().seal('s3cret', place)
    const before = { ...service.calls }
    const named = stored.replace(/^enc:2:kms-1:[^:]+/, 'enc:1:kms-1')
    await expect(process().open(named, place)).rejects.toThrow(/"kms-1" is not configured/)
    const current = parseEncryptionKey(`kms-1:${randomBytes(32).toString('base64')}`) as EncryptionKey
    const local = createCipher({ current, allowPlaintext: true })
    await expect(local.open(stored, place)).rejects.toThrow(/"kms-1" is not configured/)
    expect(service.calls).toEqual(before)
  })

  it('of another name is not asked', async () => {
    const stored = await process().seal('s3cret', place)
    const before = { ...service.calls }
    await expect(process({ ...service.kms, id: 'kms-2' }).open(stored, place)).rejects.toThrow(
      /"kms-1" is not configured/,
    )
    expect(service.calls).toEqual(before)
  })
})
