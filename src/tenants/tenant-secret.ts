import { inspect } from 'node:util'
import type { TenantSecret } from '../contracts/cipher.ts'
import { REDACTED } from '../util/secret.ts'

/** Marks secrets of every copy of this package in the process. */
const brand = Symbol.for('fastify-tenancy.secret')

/** What {@link createTenantSecret} takes. */
export interface TenantSecretOptions {
  readonly open: () => Promise<unknown>
  /** Whether a write would store it otherwise today. */
  readonly outdated: () => boolean
}

/** It holds what is stored, and the value never. No `JSON.stringify`, `inspect`, template or clone shows either. */
class StoredSecret implements TenantSecret {
  readonly #open: () => Promise<unknown>
  readonly #outdated: () => boolean

  constructor({ open, outdated }: TenantSecretOptions) {
    this.#open = open
    this.#outdated = outdated
    Object.freeze(this)
  }

  static isOutdated(value: unknown): boolean {
    return typeof value === 'object' && value !== null && #outdated in value && value.#outdated()
  }

  get [brand](): true {
    return true
  }

  reveal(): Promise<unknown> {
    return this.#open()
  }

  toString(): string {
    return REDACTED
  }

  toJSON(): string {
    return REDACTED
  }

  [inspect.custom](): string {
    return REDACTED
  }
}

/** A value that is opened when it is asked for. */
export function createTenantSecret(options: TenantSecretOptions): TenantSecret {
  return new StoredSecret(options)
}

/**
 * True for a secret value of a tenant's metadata: `if (isTenantSecret(value)) await value.reveal()`. Also for one that
 * another copy of this package made.
 */
export function isTenantSecret(value: unknown): value is TenantSecret {
  return typeof value === 'object' && value !== null && brand in value
}

/** True for a secret of ours that a write would store otherwise today. */
export const isOutdatedSecret = StoredSecret.isOutdated
