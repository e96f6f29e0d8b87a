import { describe, expect, it } from 'vitest'
import { deepFreeze } from '../../src/util/deep-freeze.ts'

describe('deepFreeze', () => {
  it('[W13] freezes objects and lists at every depth, and gives the value back', () => {
    const value = { a: { b: [{ c: 1 }, [2]] }, bare: Object.assign(Object.create(null) as object, { d: {} }) }
    expect(deepFreeze(value)).toBe(value)
    for (const part of [value, value.a, value.a.b, value.a.b[0], value.a.b[1], value.bare]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })

  it('goes on below what is frozen already', () => {
    const value = Object.freeze({ inner: { list: [] } })
    deepFreeze(value)
    expect(Object.isFrozen(value.inner.list)).toBe(true)
  })

  it('ends on cycles and on nesting deeper than the stack', () => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = { cycle }
    expect(Object.isFrozen(deepFreeze(cycle))).toBe(true)
    let deep: unknown[] = []
    for (let level = 0; level < 100_000; level++) deep = [deep]
    expect(Object.isFrozen(deepFreeze(deep))).toBe(true)
  })

  it('freezes what is under a symbol', () => {
    const key = Symbol('key')
    expect(Object.isFrozen(deepFreeze({ [key]: {} })[key])).toBe(true)
  })

  it('leaves primitives and other objects alone', () => {
    const date = new Date()
    const bytes = new Uint8Array(2)
    const value = deepFreeze({ date, bytes, map: new Map() })
    expect([value.date, value.bytes, value.map].map((part) => Object.isFrozen(part))).toEqual([false, false, false])
    for (const primitive of [undefined, null, 1, 'x']) expect(deepFreeze(primitive)).toBe(primitive)
  })
})
