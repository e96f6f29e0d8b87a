/** What a ciphertext is bound to: moved to another tenant or another field it does not open. */
export interface SecretPlace {
  readonly tenantId: string
  /** JSON pointer from the metadata: `/_enc_token`, `/smtp/_enc_password`. */
  readonly field: string
}

/** Turns secret values into text for the registry, and back. */
export interface Cipher {
  /**
   * The text to store for `value`, which is JSON. Never `value` itself, whatever it looks like.
   * @throws TENANCY_ERR_ENCRYPTION_OFF, TENANCY_ERR_KMS_UNAVAILABLE
   */
  seal(value: unknown, place: SecretPlace): Promise<string>
  /**
   * The value of what is stored. Safe to call often: it is work for the processor, and none for the network once a data
   * key is known.
   * @throws TENANCY_ERR_SECRET_UNREADABLE, TENANCY_ERR_SECRET_IN_CLEAR, TENANCY_ERR_ENCRYPTION_OFF, TENANCY_ERR_KMS_UNAVAILABLE
   */
  open(stored: unknown, place: SecretPlace): Promise<unknown>
  /** False for what a write would store otherwise today: under an older key, by fastapi-tenancy, in clear. */
  isCurrent(stored: unknown): boolean
}

/**
 * A key management service of your own. It never sees a secret: it wraps the keys that secrets are sealed with. What it
 * throws becomes the `cause` of TENANCY_ERR_KMS_UNAVAILABLE. It must give up by itself when its service does not answer.
 */
export interface KeyManagement {
  /** Name of its key, which is written beside what is sealed: 1 to 32 of a-z, A-Z, 0-9, - and _. */
  readonly id: string
  /**
   * Encrypts a data key of 32 bytes. Asked about once an hour by each process that writes secrets. Left out by a service
   * that you are leaving: it is read with only, and `encryptionKey` seals.
   */
  wrap?(dataKey: Uint8Array): Promise<Uint8Array>
  /** The data key again. Asked once for each, by each process; up to 1000 are remembered. */
  unwrap(wrapped: Uint8Array): Promise<Uint8Array>
}

/** A value of a tenant's metadata that is encrypted at rest. Every way to print it gives `[redacted]`. */
export interface TenantSecret {
  /**
   * The value, for the one place that needs it. Nothing is opened before.
   * @throws TENANCY_ERR_SECRET_UNREADABLE, TENANCY_ERR_SECRET_IN_CLEAR, TENANCY_ERR_ENCRYPTION_OFF, TENANCY_ERR_KMS_UNAVAILABLE
   */
  reveal(): Promise<unknown>
  toString(): string
  toJSON(): string
}
