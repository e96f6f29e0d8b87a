import type { ListOptions } from '../contracts/store.ts'
import type { Tenant } from '../contracts/tenant.ts'
import { invalid, isTenantId } from './tenant-input.ts'

/** The last row of a page: where the next one begins. */
export interface PagePosition {
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string
  readonly id: string
}

const DEFAULT_LIMIT = 100
const MAX_LIMIT = 1000
const MAX_CURSOR_LENGTH = 128
const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** The opaque cursor of the page that follows `tenant`. */
export function encodeCursor({ createdAt, id }: Tenant): string {
  return Buffer.from(`${createdAt} ${id}`).toString('base64url')
}

/**
 * Reads `limit` and `after`. A cursor comes from outside and is believed only if it is one of ours, letter by letter.
 * @throws TENANCY_ERR_TENANT_INVALID
 */
export function readPage({ limit = DEFAULT_LIMIT, after }: ListOptions): { limit: number; after?: PagePosition } {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw invalid(`the limit of a page must be a whole number from 1 to ${MAX_LIMIT}.`)
  }
  return after === undefined ? { limit } : { limit, after: decodeCursor(after) }
}

function decodeCursor(cursor: unknown): PagePosition {
  if (typeof cursor === 'string' && cursor.length <= MAX_CURSOR_LENGTH) {
    const [createdAt = '', id, ...rest] = Buffer.from(cursor, 'base64url').toString().split(' ')
    if (rest.length === 0 && isTenantId(id) && isInstant(createdAt)) return { createdAt, id }
  }
  throw invalid('the cursor of the page is not one that was handed out.')
}

function isInstant(text: string): boolean {
  const time = instant.test(text) ? new Date(text) : undefined
  return time !== undefined && !Number.isNaN(time.getTime()) && time.toISOString() === text
}
