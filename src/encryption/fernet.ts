import { createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'

/** Reads what fastapi-tenancy wrote; undefined for what this passphrase does not open. */
export type FernetReader = (token: string) => string | undefined

/** First part of every text that fastapi-tenancy encrypted; a Fernet token follows. */
export const FERNET_MARKER = 'enc::'

const VERSION = 0x80
const HEADER_BYTES = 9
const IV_BYTES = 16
const MAC_BYTES = 32
const HALF_KEY = 16

/**
 * Fernet (AES-128-CBC, HMAC-SHA256) with the key that fastapi-tenancy makes of a passphrase: HKDF-SHA256 without salt. For
 * reading only. A token is bound to nothing, so one that somebody moved into another row of the database opens there.
 */
export function fernetReader(passphrase: string): FernetReader {
  const derived = Buffer.from(
    hkdfSync('sha256', Buffer.from(passphrase, 'utf8'), '', 'fastapi-tenancy-v1', 2 * HALF_KEY),
  )
  const [signing, encryption] = [derived.subarray(0, HALF_KEY), derived.subarray(HALF_KEY)]
  return (token) => {
    const bytes = Buffer.from(token, 'base64url')
    const signed = bytes.subarray(0, -MAC_BYTES)
    if (bytes[0] !== VERSION || signed.length <= HEADER_BYTES + IV_BYTES) return undefined
    const mac = createHmac('sha256', signing).update(signed).digest()
    if (!timingSafeEqual(mac, bytes.subarray(-MAC_BYTES))) return undefined
    const iv = signed.subarray(HEADER_BYTES, HEADER_BYTES + IV_BYTES)
    try {
      const decipher = createDecipheriv('aes-128-cbc', encryption, iv)
      const opened = decipher.update(signed.subarray(HEADER_BYTES + IV_BYTES))
      return Buffer.concat([opened, decipher.final()]).toString('utf8')
    } catch {
      return undefined
    }
  }
}
