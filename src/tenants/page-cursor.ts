import type { ListOptions } from '../contracts/store.ts'
import type { Tenant, TenantStatus } from '../contracts/tenant.ts'
import { foldText } from '../util/fold-text.ts'
import { invalid, isStorable, isTenantId } from './tenant-input.ts'

/** The last row of a page: where the next one begins. */
export interface PagePosition {
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string
  readonly id: string
}

const DEFAULT_LIMIT = 100
const MAX_LIMIT = 1000
const MAX_SEARCH_LENGTH = 255
const MAX_CURSOR_LENGTH = 128
const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** The opaque cursor of the page that follows `tenant`. */
export function encodeCursor({ createdAt, id }: Tenant): string {
  return Buffer.from(`${createdAt} ${id}`).toString('base64url')
}

/** What {@link readPage} makes of the options. */
export interface PageQuery {
  readonly limit: number
  readonly after?: PagePosition
  readonly status?: TenantStatus
  /** Folded already: what the identifier or the folded name must have in it. */
  readonly search?: string
}

/**
 * Reads the options of a page. A cursor comes from outside and is believed only if it is one of ours, letter by letter.
 * @throws TENANCY_ERR_TENANT_INVALID
 */
export function readPage({ limit = DEFAULT_LIMIT, after, status, search }: ListOptions): PageQuery {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw invalid(`the limit of a page must be a whole number from 1 to ${MAX_LIMIT}.`)
  }
  return {
    limit,
    ...(status !== undefined && { status }),
    ...(search !== undefined && { search: readSearch(search) }),
    ...(after !== undefined && { after: decodeCursor(after) }),
  }
}

function readSearch(search: unknown): string {
  if (typeof search !== 'string' || search.length > MAX_SEARCH_LENGTH || !isStorable(search)) {
    throw invalid(`what to search for must be a text of at most ${MAX_SEARCH_LENGTH} characters.`)
  }
  return foldText(search)
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
