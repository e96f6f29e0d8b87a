import { createLru } from './lru.ts'

/** What is remembered of one key: a value, and the moment (a counter) it became known. */
export interface Change<V> {
  readonly value: V
  readonly at: number
}

/** The latest change of each key, in bounded memory. */
export interface ChangeLog<V> {
  get(key: string): Change<V> | undefined
  record(key: string, value: V, at: number): void
  /** True when a change later than `moment` may have been forgotten, so that a missing key proves nothing. */
  lostSince(moment: number): boolean
  /** Forgets all; whatever began before `at` can prove nothing any more. */
  clear(at: number): void
}

/**
 * Remembers the latest change of up to `max` keys, and of the forgotten ones only how late the latest was. That one
 * number makes the bound safe: a read that began before a change which was forgotten is told so, and is not believed.
 */
export function createChangeLog<V>(max: number): ChangeLog<V> {
  let lost = 0
  const create = () =>
    createLru<Change<V>>({
      max,
      onEvict: (change) => {
        lost = Math.max(lost, change.at)
      },
    })
  let changes = create()
  return Object.freeze({
    get: (key: string) => changes.get(key),
    record: (key: string, value: V, at: number) => changes.set(key, { value, at }),
    lostSince: (moment: number) => lost > moment,
    clear: (at: number) => {
      changes = create()
      lost = at
    },
  })
}
