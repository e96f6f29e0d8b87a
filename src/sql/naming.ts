import { createHash } from 'node:crypto'

/** What the names of one tenant's objects look like. */
export interface Naming {
  /** What stands before every name, outermost first: a schema, a database, both, or nothing. */
  readonly qualifier: readonly string[]
  /** What every name begins with: empty, or the namespace and two underscores. */
  readonly prefix: string
}

const HASH_LENGTH = 10

/**
 * A name with its prefix, no longer than the database takes: PostgreSQL would cut a longer one silently, and two of them
 * could become one. The hash of the whole name stands for what is left out.
 */
export function prefixedName(prefix: string, name: string, maxBytes: number): string {
  const full = prefix + name
  if (Buffer.byteLength(full) <= maxBytes) return full
  const hash = createHash('sha256').update(name).digest('hex').slice(0, HASH_LENGTH)
  let head = full
  while (Buffer.byteLength(head) > maxBytes - HASH_LENGTH - 1) head = head.slice(0, -1)
  // Half of a surrogate pair is no character.
  return `${head.replace(/[\uD800-\uDBFF]$/, '')}_${hash}`
}
