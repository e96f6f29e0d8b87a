import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import type { Lru } from '../contracts/cache.ts'
import type { KeyManagement } from '../contracts/cipher.ts'
import { tenancyError } from '../errors.ts'
import { KEY_BYTES } from './keys.ts'

/** A key that secrets are sealed with, and how it is written beside them. */
export interface DataKey {
  readonly key: KeyObject
  /** In base64url. */
  readonly wrapped: string
}

/** The data keys of a key management service. */
export interface DataKeys {
  /** The one to seal with now. @throws TENANCY_ERR_KMS_UNAVAILABLE */
  current(): Promise<DataKey>
  /** The one that is written as `wrapped`. @throws TENANCY_ERR_KMS_UNAVAILABLE */
  unwrap(wrapped: string): Promise<KeyObject>
}

/** What {@link createDataKeys} takes. */
export interface DataKeysOptions {
  readonly kms: KeyManagement
  /** Remembers keys by how they are written. */
  readonly known: Lru<KeyObject>
  /** The clock, in milliseconds. Default: `performance.now`. */
  readonly now?: () => number
}

/** How long a process seals with one data key. */
const LIFETIME_MS = 3_600_000

/**
 * Asks the service seldom: once for each data key, however many ask at once. A failure is not remembered, so the next
 * who needs the key asks again.
 */
export function createDataKeys({ kms, known, now = () => performance.now() }: DataKeysOptions): DataKeys {
  let newest: { readonly made: Promise<DataKey>; readonly until: number } | undefined
  const flights = new Map<string, Promise<KeyObject>>()

  async function make(): Promise<DataKey> {
    const bytes = randomBytes(KEY_BYTES)
    const wrapped = Buffer.from(await ask(async () => kms.wrap?.(Uint8Array.from(bytes)))).toString('base64url')
    const key = createSecretKey(bytes)
    known.set(wrapped, key)
    return { key, wrapped }
  }

  async function fetch(wrapped: string): Promise<KeyObject> {
    const bytes = await ask(() => kms.unwrap(Buffer.from(wrapped, 'base64url')))
    if (bytes.length !== KEY_BYTES) throw tenancyError('TENANCY_ERR_KMS_UNAVAILABLE')
    const key = createSecretKey(bytes)
    known.set(wrapped, key)
    return key
  }

  return Object.freeze({
    current() {
      if (newest !== undefined && now() < newest.until) return newest.made
      const made = make().catch((error: unknown) => {
        newest = undefined
        throw error
      })
      newest = { made, until: now() + LIFETIME_MS }
      return made
    },
    unwrap: async (wrapped: string) => {
      const held = known.get(wrapped)
      if (held !== undefined) return held
      const flight = flights.get(wrapped) ?? fetch(wrapped).finally(() => flights.delete(wrapped))
      flights.set(wrapped, flight)
      return flight
    },
  })
}

async function ask(work: () => Promise<Uint8Array | undefined>): Promise<Uint8Array> {
  try {
    const bytes: unknown = await work()
    if (bytes instanceof Uint8Array && bytes.length > 0) return bytes
  } catch (error) {
    throw tenancyError('TENANCY_ERR_KMS_UNAVAILABLE', [], error)
  }
  throw tenancyError('TENANCY_ERR_KMS_UNAVAILABLE')
}
