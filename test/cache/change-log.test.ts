import { describe, expect, it } from 'vitest'
import { createChangeLog } from '../../src/cache/change-log.ts'

describe('createChangeLog', () => {
  it('keeps the latest change of a key', () => {
    const log = createChangeLog<string>(2)
    log.record('a', 'one', 1)
    log.record('a', 'two', 2)
    expect(log.get('a')).toEqual({ value: 'two', at: 2 })
    expect(log.get('b')).toBeUndefined()
    expect(log.lostSince(0)).toBe(false)
  })

  it('tells from which moment on a change may have been forgotten', () => {
    const log = createChangeLog<string>(2)
    for (const [index, key] of ['a', 'b', 'c', 'd'].entries()) log.record(key, key, index + 1)
    expect(log.get('a')).toBeUndefined()
    expect([log.lostSince(0), log.lostSince(1), log.lostSince(2), log.lostSince(3)]).toEqual([true, true, false, false])
  })

  it('can prove nothing from before a clear', () => {
    const log = createChangeLog<string>(2)
    log.record('a', 'a', 1)
    log.clear(5)
    expect(log.get('a')).toBeUndefined()
    expect([log.lostSince(4), log.lostSince(5)]).toEqual([true, false])
  })
})
