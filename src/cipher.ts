import type { KeyObject } from 'node:crypto'
import { createLru } from './cache/lru.ts'
import type { TenancyConfig } from './config.ts'
import type { Cipher } from './contracts/cipher.ts'
import { createCipher, type ManagedKey, noCipher } from './encryption/cipher.ts'
import { createDataKeys } from './encryption/data-keys.ts'
import { fernetReader } from './encryption/fernet.ts'
import { type EncryptionKey, parseEncryptionKey } from './encryption/keys.ts'
import type { Secret } from './util/secret.ts'

/** Data keys of a key management service that a process remembers. */
const KNOWN_DATA_KEYS = 1000

/** The cipher that the configuration describes. */
export function configuredCipher(config: TenancyConfig): Cipher {
  const { encryptionPassphrase: passphrase, allowPlaintext } = config
  const current = currentKey(config)
  if (!config.enableEncryption || current === undefined) return noCipher
  return createCipher({
    current,
    older: config.encryptionOldKeys.flatMap((key) => keyOf(key) ?? []),
    allowPlaintext,
    ...(passphrase !== undefined && { fernet: fernetReader(passphrase.reveal()) }),
  })
}

function currentKey({ encryptionKey, encryptionKms: kms }: TenancyConfig): EncryptionKey | ManagedKey | undefined {
  if (kms === undefined) return encryptionKey && keyOf(encryptionKey)
  return { id: kms.id, dataKeys: createDataKeys({ kms, known: createLru<KeyObject>({ max: KNOWN_DATA_KEYS }) }) }
}

function keyOf(key: Secret): EncryptionKey | undefined {
  return parseEncryptionKey(key.reveal())
}
