import { createSecretKey, type KeyObject } from 'node:crypto'

/** A key with the name that is written beside what it seals. A `KeyObject` does not print what it holds. */
export interface EncryptionKey {
  readonly id: string
  readonly key: KeyObject
}

/** Bytes of a key of AES-256. */
export const KEY_BYTES = 32

const form = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/_-]{43})=?$/

/** Whether `id` can be the name of a key. */
export function isKeyId(id: unknown): id is string {
  return typeof id === 'string' && /^[A-Za-z0-9_-]{1,32}$/.test(id)
}

/** Reads `<id>:<32 bytes in base64 or base64url>`; undefined for anything else, such as a password. */
export function parseEncryptionKey(text: string): EncryptionKey | undefined {
  const [, id, encoded] = form.exec(text) ?? []
  if (id === undefined || encoded === undefined) return undefined
  const bytes = Buffer.from(encoded, 'base64')
  // The last letter has two bits too many: only one of its four forms is what an encoder writes.
  const canonical = bytes.toString('base64url') === encoded.replaceAll('+', '-').replaceAll('/', '_')
  return bytes.length === KEY_BYTES && canonical ? Object.freeze({ id, key: createSecretKey(bytes) }) : undefined
}
