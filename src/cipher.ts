import type { KeyObject } from 'node:crypto'
import { createLru } from './cache/lru.ts'
import type { TenancyConfig } from './config.ts'
import type { Cipher, KeyManagement } from './contracts/cipher.ts'
import { type CipherOptions, createCipher, type ManagedKey, noCipher } from './encryption/cipher.ts'
import { createDataKeys } from './encryption/data-keys.ts'
import { fernetReader } from './encryption/fernet.ts'
import { type EncryptionKey, parseEncryptionKey } from './encryption/keys.ts'
import type { Secret } from './util/secret.ts'

/** Data keys of a key management service that a process remembers. */
const KNOWN_DATA_KEYS = 1000

/** The cipher that the configuration describes. */
export function configuredCipher(config: TenancyConfig): Cipher {
  const { encryptionKms: kms, encryptionPassphrase: passphrase, allowPlaintext } = config
  const managed = kms && managedKey(kms)
  const key = config.encryptionKey && keyOf(config.encryptionKey)
  const current = key ?? managed
  if (current === undefined) return noCipher
  const older = [...config.encryptionOldKeys.map(keyOf), managed].filter((one) => one !== undefined && one !== current)
  return createCipher({
    current,
    older: older as NonNullable<CipherOptions['older']>,
    allowPlaintext,
    ...(passphrase !== undefined && { fernet: fernetReader(passphrase.reveal()) }),
  })
}

function managedKey(kms: KeyManagement): ManagedKey {
  return { id: kms.id, dataKeys: createDataKeys({ kms, known: createLru<KeyObject>({ max: KNOWN_DATA_KEYS }) }) }
}

function keyOf(key: Secret): EncryptionKey | undefined {
  return parseEncryptionKey(key.reveal())
}
