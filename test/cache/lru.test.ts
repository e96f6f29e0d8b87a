import { describe, expect, it } from 'vitest'
import { createLru } from '../../src/cache/lru.ts'

describe('createLru', () => {
  it('forgets what was used least recently, and tells', () => {
    const evicted: [string, number][] = []
    const lru = createLru<number>({ max: 2, onEvict: (value, key) => evicted.push([key, value]) })
    lru.set('a', 1)
    lru.set('b', 2)
    lru.get('a')
    lru.set('c', 3)
    expect(evicted).toEqual([['b', 2]])
    expect([lru.get('a'), lru.get('b'), lru.get('c')]).toEqual([1, undefined, 3])
    expect(lru.size).toBe(2)
    expect(new Set(lru.values())).toEqual(new Set([1, 3]))
  })

  it('does not tell a delete or an overwrite', () => {
    const evicted: string[] = []
    const lru = createLru<number>({ max: 2, onEvict: (_value, key) => evicted.push(key) })
    lru.set('a', 1)
    lru.set('a', 2)
    lru.delete('a')
    lru.delete('never')
    expect(evicted).toEqual([])
    expect(lru.size).toBe(0)
  })

  it('works without onEvict', () => {
    const lru = createLru<number>({ max: 1 })
    lru.set('a', 1)
    lru.set('b', 2)
    expect(lru.size).toBe(1)
  })

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses a max of %s', (max) => {
    expect(() => createLru({ max })).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }))
  })
})
