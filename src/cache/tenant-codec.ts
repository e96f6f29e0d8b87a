import { createHmac, timingSafeEqual } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { strategyNames, type Tenant, type TenantStatus, transitions } from '../contracts/tenant.ts'
import { deepFreeze } from '../util/deep-freeze.ts'
import { parseIdentifier } from '../util/identifier.ts'

/** Turns tenants into text for a cache outside of the process, and back. */
export interface TenantCodec {
  /** The text; undefined for a tenant that would not come back as it is, such as one that holds more than JSON can. */
  encode(tenant: Tenant, incarnation: string): string | undefined
  /** The tenant; undefined for whatever is not one of this id that `encode` made with the same key and incarnation. Never throws. */
  decode(text: string, id: string, incarnation: string): Tenant | undefined
}

/** Grows with every change of what `encode` writes. Of another number is unreadable. */
const VERSION = 1

const statuses = Object.keys(transitions) as [TenantStatus, ...TenantStatus[]]
const filled = z.string().min(1)

const payload = z.strictObject({
  version: z.literal(VERSION),
  tenant: z.strictObject({
    id: filled,
    identifier: z.string().refine((text) => parseIdentifier(text) !== undefined),
    name: filled,
    status: z.enum(statuses),
    placement: z.strictObject({
      strategy: z.enum(strategyNames),
      server: filled,
      namespace: z.string().regex(/^[a-z][a-z0-9]{0,62}$/),
      rowKey: filled,
    }),
    metadata: z.record(z.string(), z.unknown()),
    version: z.int().min(1),
    createdAt: z.iso.datetime({ offset: true }),
    updatedAt: z.iso.datetime({ offset: true }),
  }),
})

/**
 * Payloads carry a MAC by `key`. It is of the registry that the tenants are from, and of its incarnation: another app that shares
 * the Redis by mistake reads none of ours, and who can write to Redis only cannot make a tenant up.
 */
export function createTenantCodec(key: Uint8Array): TenantCodec {
  const macOf = (text: string, incarnation: string) =>
    createHmac('sha256', key).update(JSON.stringify(incarnation)).update(text).digest()
  return Object.freeze({
    encode(tenant: Tenant, incarnation: string) {
      const text = toJson({ version: VERSION, tenant })
      if (text === undefined) return undefined
      return `${macOf(text, incarnation).toString('base64url')}.${text}`
    },
    decode(given: string, id: string, incarnation: string) {
      const at = given.indexOf('.')
      const [mac, text] = [Buffer.from(given.slice(0, Math.max(at, 0)), 'base64url'), given.slice(at + 1)]
      const expected = macOf(text, incarnation)
      if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) return undefined
      const { data } = payload.safeParse(fromJson(text))
      // The value as it was parsed, not as zod copied it: keys such as `__proto__` are values like any other.
      return data?.tenant.id === id ? deepFreeze((fromJson(text) as { tenant: Tenant }).tenant) : undefined
    },
  })
}

/** The text, if it says all of the value; metadata that are nested too deep to compare are not shared either. */
function toJson(value: object): string | undefined {
  try {
    const text = JSON.stringify(value)
    return isDeepStrictEqual(fromJson(text), value) ? text : undefined
  } catch {
    return undefined
  }
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
