import { LRUCache } from 'lru-cache'
import type { Lru } from '../contracts/cache.ts'
import { tenancyError } from '../errors.ts'

/** What {@link createLru} takes. */
export interface LruOptions<V> {
  /** Most entries held; at least 1. */
  readonly max: number
  /** Called with what had to go to make room, before `set` returns. Not called for a `delete` or an overwrite. */
  readonly onEvict?: (value: V, key: string) => void
}

/**
 * A bounded map that forgets what was used least recently; `get` and `set` count as use.
 * @throws TENANCY_ERR_CONFIG_INVALID when `max` is not a whole number from 1
 */
export function createLru<V extends object | string | number | boolean>({ max, onEvict }: LruOptions<V>): Lru<V> {
  // lru-cache takes 0 for "no bound".
  if (!Number.isInteger(max) || max < 1) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [`a cache must hold at least 1 entry, got ${String(max)}`])
  }
  const entries = new LRUCache<string, V>({
    max,
    ...(onEvict !== undefined && {
      dispose: (value: V, key: string, reason: LRUCache.DisposeReason) => {
        if (reason === 'evict') onEvict(value, key)
      },
    }),
  })
  return Object.freeze({
    get: (key: string) => entries.get(key),
    set: (key: string, value: V) => void entries.set(key, value),
    delete: (key: string) => void entries.delete(key),
    values: () => entries.values(),
    get size() {
      return entries.size
    },
  })
}
