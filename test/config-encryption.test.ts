import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { configuredCipher } from '../src/cipher.ts'
import { parseConfig, type TenancyConfig } from '../src/config.ts'

const databaseUrl = 'postgres://app@db/saas'
const keyOf = (id: string, byte: number) => `${id}:${Buffer.alloc(32, byte).toString('base64')}`
const [k1, k2] = [keyOf('k1', 1), keyOf('k2', 2)]
const passphrase = '0123456789abcdef0123456789abcdef'
const kms = { id: 'kms', wrap: async (key: Uint8Array) => key, unwrap: async (key: Uint8Array) => key }
const place = { tenantId: 'a', field: '/b' }

const parse = (options: object, environment: Record<string, string> = {}): TenancyConfig =>
  parseConfig({ databaseUrl, ...options }, environment)

function refusal(options: object, environment: Record<string, string> = {}): string {
  try {
    parse(options, environment)
  } catch (error) {
    return (error as Error).message
  }
  return ''
}

describe('the settings of encryption', () => {
  test('come from the code or the environment', () => {
    const inCode = parse({
      enableEncryption: true,
      encryptionKey: k2,
      encryptionOldKeys: [k1],
      encryptionPassphrase: passphrase,
    })
    const inEnvironment = parse(
      {},
      {
        TENANCY_ENABLE_ENCRYPTION: 'true',
        TENANCY_ENCRYPTION_KEY: k2,
        TENANCY_ENCRYPTION_OLD_KEYS: k1,
        TENANCY_ENCRYPTION_PASSPHRASE: passphrase,
      },
    )
    for (const config of [inCode, inEnvironment]) {
      expect(config.encryptionKey?.reveal()).toBe(k2)
      expect(config.encryptionOldKeys.map((key) => key.reveal())).toEqual([k1])
      expect(config.encryptionPassphrase?.reveal()).toBe(passphrase)
    }
    const several = parse(
      {},
      {
        TENANCY_ENABLE_ENCRYPTION: '1',
        TENANCY_ENCRYPTION_KEY: keyOf('k3', 3),
        TENANCY_ENCRYPTION_OLD_KEYS: `${k1}, ${k2}`,
      },
    )
    expect(several.encryptionOldKeys.map((key) => key.reveal())).toEqual([k1, k2])
  })

  test.each<[string, object, RegExp]>([
    [
      'no key',
      { enableEncryption: true },
      /^- enableEncryption \(TENANCY_ENABLE_ENCRYPTION\): got true and no key\. Set encryptionKey/m,
    ],
    ['only an older key', { enableEncryption: true, encryptionOldKeys: [k1] }, /got true and no key/],
    ['only the passphrase', { enableEncryption: true, encryptionPassphrase: passphrase }, /got true and no key/],
    ['a key that nothing would use', { encryptionKey: k1 }, /got false, and encryptionKey .* would do nothing/],
    [
      'an older key that nothing would use',
      { encryptionOldKeys: [k1] },
      /got false, and encryptionOldKeys .* would do nothing/,
    ],
    [
      'a passphrase that nothing would use',
      { encryptionPassphrase: passphrase },
      /got false, and encryptionPassphrase/,
    ],
    ['a service that nothing would use', { encryptionKms: kms }, /got false, and encryptionKms would do nothing/],
    ['plain text that nothing would give', { allowPlaintext: true }, /got false, and allowPlaintext/],
    [
      'only a service that is read with',
      { enableEncryption: true, encryptionKms: { id: 'kms', unwrap: kms.unwrap } },
      /got true and no key/,
    ],
    ['two that would seal', { enableEncryption: true, encryptionKey: k1, encryptionKms: kms }, /two that would seal/],
    [
      'two keys of one name',
      { enableEncryption: true, encryptionKey: k1, encryptionOldKeys: [k2, keyOf('k1', 3)] },
      /two keys named "k1"/,
    ],
    [
      'a service named like a key',
      { enableEncryption: true, encryptionKms: kms, encryptionOldKeys: [keyOf('kms', 3)] },
      /two keys named "kms"/,
    ],
  ])('[W44] with %s do not start', (_what, options, message) => {
    expect(refusal(options)).toMatch(message)
  })

  test('[W47] are printed nowhere', () => {
    const config = parse({
      enableEncryption: true,
      encryptionKey: k2,
      encryptionOldKeys: [k1],
      encryptionPassphrase: passphrase,
    })
    const printed = [
      inspect(config, { depth: null, showHidden: true }),
      inspect(config, { depth: null, customInspect: false, showHidden: true }),
      JSON.stringify(config),
      inspect(configuredCipher(config), { depth: null, showHidden: true }),
    ]
    const refused = [
      refusal({ encryptionKey: `${k1}x`, encryptionOldKeys: `${k2}x`, encryptionPassphrase: 'short passphrase' }),
      refusal({ encryptionKms: { id: 'short passphrase' } }),
      refusal(
        {},
        {
          TENANCY_ENCRYPTION_KEY: `${k1}x`,
          TENANCY_ENCRYPTION_OLD_KEYS: `${k2}x`,
          TENANCY_ENCRYPTION_PASSPHRASE: 'short passphrase',
        },
      ),
      refusal({ enableEncryption: true, encryptionKey: k1, encryptionOldKeys: [k1] }),
    ]
    for (const text of [...printed, ...refused]) {
      expect(text).not.toBe('')
      for (const part of [k1.slice(3, 20), k2.slice(3, 20), passphrase, 'short passphrase'])
        expect(text).not.toContain(part)
    }
  })

  test('make the cipher', async () => {
    const sealed = await configuredCipher(parse({ enableEncryption: true, encryptionKey: k1 })).seal('s3cret', place)
    expect(sealed).toMatch(/^enc:1:k1:/)
    const rotated = configuredCipher(parse({ enableEncryption: true, encryptionKey: k2, encryptionOldKeys: [k1] }))
    expect(await rotated.open(sealed, place)).toBe('s3cret')
    expect(await rotated.seal('s3cret', place)).toMatch(/^enc:1:k2:/)
    const managed = configuredCipher(parse({ enableEncryption: true, encryptionKms: kms, encryptionOldKeys: [k1] }))
    expect(await managed.open(sealed, place)).toBe('s3cret')
    const [wrapped, again] = [await managed.seal('s3cret', place), await managed.seal('s3cret', place)]
    expect(wrapped).toMatch(/^enc:2:kms:/)
    expect(await managed.open(again, place)).toBe('s3cret')
    const leaving = { id: kms.id, unwrap: kms.unwrap }
    const left = configuredCipher(parse({ enableEncryption: true, encryptionKey: k2, encryptionKms: leaving }))
    expect(await left.open(wrapped, place)).toBe('s3cret')
    expect([left.isCurrent(wrapped), left.isCurrent(await left.seal('s3cret', place))]).toEqual([false, true])
    const legacy = 'enc::x'
    await expect(
      configuredCipher(parse({ enableEncryption: true, encryptionKey: k1, encryptionPassphrase: passphrase })).open(
        legacy,
        place,
      ),
    ).rejects.toThrow(/`encryptionPassphrase` does not open it/)
    await expect(managed.open('clear', place)).rejects.toMatchObject({ code: 'TENANCY_ERR_SECRET_IN_CLEAR' })
    const lenient = configuredCipher(parse({ enableEncryption: true, encryptionKey: k1, allowPlaintext: true }))
    expect(await lenient.open('clear', place)).toBe('clear')
    await expect(configuredCipher(parse({})).seal('x', place)).rejects.toMatchObject({
      code: 'TENANCY_ERR_ENCRYPTION_OFF',
    })
  })
})
