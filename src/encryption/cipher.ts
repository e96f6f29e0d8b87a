import type { KeyObject } from 'node:crypto'
import type { Cipher, SecretPlace } from '../contracts/cipher.ts'
import { tenancyError } from '../errors.ts'
import type { DataKeys } from './data-keys.ts'
import { type Envelope, MARKER, openEnvelope, readEnvelope, sealEnvelope } from './envelope.ts'
import { FERNET_MARKER, type FernetReader } from './fernet.ts'
import type { EncryptionKey } from './keys.ts'

/** A key that a key management service keeps. */
export interface ManagedKey {
  readonly id: string
  readonly dataKeys: DataKeys
}

/** What {@link createCipher} takes. No two keys may have one id. */
export interface CipherOptions {
  /** What new values are sealed by. */
  readonly current: EncryptionKey | ManagedKey
  /** For reading only. */
  readonly older?: readonly (EncryptionKey | ManagedKey)[]
  /** Reads values of fastapi-tenancy. */
  readonly fernet?: FernetReader
  /** Whether values that are stored in clear are given out. */
  readonly allowPlaintext: boolean
}

/** The cipher of an app without encryption: no secret is written in clear, and none is given out. */
export const noCipher: Cipher = Object.freeze({
  seal: () => Promise.reject(tenancyError('TENANCY_ERR_ENCRYPTION_OFF')),
  open: () => Promise.reject(tenancyError('TENANCY_ERR_ENCRYPTION_OFF')),
  isCurrent: () => true,
})

/**
 * Secrets as JSON in envelopes of AES-256-GCM. A text that begins like an envelope is never taken for clear text, and on
 * a write everything is sealed, so what a user enters can look like anything.
 */
export function createCipher({ current, older = [], fernet, allowPlaintext }: CipherOptions): Cipher {
  const ring = new Map<string, EncryptionKey | ManagedKey>([...older, current].map((one) => [one.id, one]))

  const lead = `${MARKER}${isManaged(current) ? 2 : 1}:${current.id}:`

  async function seal(value: unknown, place: SecretPlace): Promise<string> {
    const text = JSON.stringify(value)
    if (!isManaged(current)) return sealEnvelope(current.key, { keyId: current.id }, text, place)
    const { key, wrapped } = await current.dataKeys.current()
    return sealEnvelope(key, { keyId: current.id, wrapped }, text, place)
  }

  async function keyOf({ keyId, wrapped }: Envelope): Promise<KeyObject | undefined> {
    const found = ring.get(keyId)
    if (found === undefined || isManaged(found) !== (wrapped !== undefined)) return undefined
    return isManaged(found) ? found.dataKeys.unwrap(wrapped ?? '') : found.key
  }

  async function openSealed(text: string, place: SecretPlace): Promise<unknown> {
    const envelope = readEnvelope(text)
    if (envelope === undefined) throw unreadable('it has the beginning of a sealed value and not its form')
    const key = await keyOf(envelope)
    if (key === undefined) throw unreadable(`the key "${envelope.keyId}" is not configured`)
    const opened = openEnvelope(key, envelope, place)
    if (opened !== undefined) return JSON.parse(opened)
    throw unreadable(
      `the key "${envelope.keyId}" does not open it: another key had this name, or the value was changed or moved here`,
    )
  }

  function openFernet(token: string): string {
    if (fernet === undefined) throw unreadable('fastapi-tenancy wrote it, and `encryptionPassphrase` is not set')
    const opened = fernet(token)
    if (opened !== undefined) return opened
    throw unreadable('fastapi-tenancy wrote it, and `encryptionPassphrase` does not open it')
  }

  return Object.freeze({
    seal,
    async open(stored: unknown, place: SecretPlace) {
      if (typeof stored === 'string') {
        if (stored.startsWith(FERNET_MARKER)) return openFernet(stored.slice(FERNET_MARKER.length))
        if (stored.startsWith(MARKER)) return openSealed(stored, place)
      }
      if (!allowPlaintext) throw tenancyError('TENANCY_ERR_SECRET_IN_CLEAR')
      return stored
    },
    isCurrent: (stored: unknown) => typeof stored === 'string' && stored.startsWith(lead),
  })
}

function isManaged(key: EncryptionKey | ManagedKey): key is ManagedKey {
  return 'dataKeys' in key
}

function unreadable(reason: string) {
  return tenancyError('TENANCY_ERR_SECRET_UNREADABLE', [reason])
}
