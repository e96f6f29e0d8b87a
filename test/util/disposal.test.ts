import { expect, test } from 'vitest'
import { disposeAll } from '../../src/util/disposal.ts'

const part = (name: string, closed: string[], close: () => Promise<void> = async () => {}) => ({
  name,
  close: async () => {
    await close()
    closed.push(name)
  },
})
const never = () => new Promise<void>(() => {})

test('closes one after the other, in the given order', async () => {
  const closed: string[] = []
  const slow = () => new Promise<void>((resolve) => setTimeout(resolve, 20))
  expect(await disposeAll([part('a', closed, slow), part('b', closed), part('c', closed)], 1000)).toEqual([])
  expect(closed).toEqual(['a', 'b', 'c'])
})

test('[W69] closes the rest when a part rejects, throws at once, or hangs, and names each of them', async () => {
  const closed: string[] = []
  const error = new Error('no')
  const parts = [
    part('rejects', closed, () => Promise.reject(error)),
    {
      name: 'throws',
      close: () => {
        throw error
      },
    },
    part('first', closed),
    part('hangs', closed, never),
    part('last', closed),
  ]
  const start = Date.now()
  expect(await disposeAll(parts, 100)).toEqual([
    { name: 'rejects', error },
    { name: 'throws', error },
    { name: 'hangs', error: 'not closed in time' },
  ])
  expect(closed).toEqual(['first', 'last'])
  expect(Date.now() - start).toBeLessThan(1000)
})

test('has one deadline for all together: what comes after a hanging part is still asked to close', async () => {
  const asked: string[] = []
  const hanging = ['a', 'b', 'c'].map((name) => ({
    name,
    close: () => {
      asked.push(name)
      return never()
    },
  }))
  const start = Date.now()
  expect((await disposeAll(hanging, 100)).map(({ name }) => name)).toEqual(['a', 'b', 'c'])
  expect(asked).toEqual(['a', 'b', 'c'])
  expect(Date.now() - start).toBeLessThan(250)
})

test('leaves no timer behind and does not wait for one', async () => {
  const start = Date.now()
  await disposeAll([part('a', [])], 60_000)
  expect(Date.now() - start).toBeLessThan(1000)
  expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length).toBeLessThan(3)
})

test('of nothing is nothing', async () => {
  expect(await disposeAll([], 0)).toEqual([])
})

test('survives a part that fails after it was given up', async () => {
  const late = {
    name: 'late',
    close: () => new Promise<void>((_, reject) => setTimeout(reject, 40, new Error('late'))),
  }
  expect(await disposeAll([late], 10)).toEqual([{ name: 'late', error: 'not closed in time' }])
  await new Promise((resolve) => setTimeout(resolve, 60))
})
