import { describe, expect, it } from 'vitest'
import { readOnce } from '../../src/util/read-once.ts'

function counted() {
  const read: string[] = []
  const known = readOnce((text) => {
    read.push(text)
    return { length: text.length }
  })
  return { read, known }
}

describe('readOnce', () => {
  it('reads a text once', () => {
    const { read, known } = counted()
    expect(known('select 1')).toBe(known('select 1'))
    expect(read).toEqual(['select 1'])
  })

  it('forgets the oldest of many, so that texts with values in them do not fill the memory', () => {
    const { read, known } = counted()
    for (let i = 0; i <= 2000; i++) known(`select ${i}`)
    known('select 2000')
    expect(read).toHaveLength(2001)
    known('select 0')
    expect(read).toHaveLength(2002)
  })

  it('remembers no text that is longer than 16,384', () => {
    const { read, known } = counted()
    for (const length of [16_384, 16_385]) for (let i = 0; i < 2; i++) known(' '.repeat(length))
    expect(read.map(({ length }) => length)).toEqual([16_384, 16_385, 16_385])
  })

  it('remembers nothing of a text that cannot be read', () => {
    let fails = true
    const known = readOnce(() => {
      if (fails) throw new Error('not now')
      return {}
    })
    expect(() => known('a')).toThrow('not now')
    fails = false
    expect(known('a')).toEqual({})
  })
})
