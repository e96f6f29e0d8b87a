import { expect, it } from 'vitest'
import { whenKnown } from '../../src/resolvers/when-known.ts'

it('goes on at once with a value', () => {
  expect(whenKnown<number, number>(1, (n) => n + 1)).toBe(2)
  expect(whenKnown<unknown, unknown>(null, (value) => value)).toBeNull()
})

it('goes on later with a promise, and passes a rejection on', async () => {
  const answer = whenKnown<number, number>(Promise.resolve(1), (n) => n + 1)
  expect(answer).toBeInstanceOf(Promise)
  await expect(answer).resolves.toBe(2)
  await expect(whenKnown<number, number>(Promise.reject(new RangeError('no')), (n) => n)).rejects.toThrow(RangeError)
})
