import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto'
import type { SecretPlace } from '../contracts/cipher.ts'

/** What is written in front of a ciphertext, and protected with it. */
export interface EnvelopeHeader {
  readonly keyId: string
  /** The data key as the key management service wrapped it, in base64url; absent where the named key itself seals. */
  readonly wrapped?: string
}

/** A stored text that has the form of an envelope. Whether it opens is another matter. */
export interface Envelope extends EnvelopeHeader {
  readonly sealed: Buffer
}

/** First part of every stored text of ours, and of those of fastapi-tenancy (`enc::`). */
export const MARKER = 'enc:'

const IV_BYTES = 12
const TAG_BYTES = 16
const form = /^enc:(?:1:([A-Za-z0-9_-]{1,32})|2:([A-Za-z0-9_-]{1,32}):([A-Za-z0-9_-]+)):([A-Za-z0-9_-]+)$/

/** Seals `text` by AES-256-GCM: `enc:1:<key id>:<…>`, or `enc:2:<key id>:<wrapped data key>:<…>`. */
export function sealEnvelope(key: KeyObject, header: EnvelopeHeader, text: string, place: SecretPlace): string {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, iv)
  cipher.setAAD(boundTo(header, place))
  const sealed = Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
  return `${prefixOf(header)}:${sealed.toString('base64url')}`
}

/** The text that was sealed, or undefined when `key` does not open it here. */
export function openEnvelope(key: KeyObject, envelope: Envelope, place: SecretPlace): string | undefined {
  const { sealed } = envelope
  if (sealed.length < IV_BYTES + TAG_BYTES) return undefined
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES })
  decipher.setAAD(boundTo(envelope, place))
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
  try {
    const opened = decipher.update(sealed.subarray(IV_BYTES, -TAG_BYTES))
    return Buffer.concat([opened, decipher.final()]).toString('utf8')
  } catch {
    return undefined
  }
}

/** The parts of a stored text; undefined when it is no envelope. */
export function readEnvelope(text: string): Envelope | undefined {
  const [, named, managed, wrapped, sealed] = form.exec(text) ?? []
  const keyId = named ?? managed
  if (keyId === undefined || sealed === undefined) return undefined
  return { keyId, sealed: Buffer.from(sealed, 'base64url'), ...(wrapped !== undefined && { wrapped }) }
}

function prefixOf({ keyId, wrapped }: EnvelopeHeader): string {
  return wrapped === undefined ? `${MARKER}1:${keyId}` : `${MARKER}2:${keyId}:${wrapped}`
}

/** JSON, so that no two places are written alike. */
function boundTo(header: EnvelopeHeader, { tenantId, field }: SecretPlace): Buffer {
  return Buffer.from(JSON.stringify(['fastify-tenancy', prefixOf(header), tenantId, field]))
}
