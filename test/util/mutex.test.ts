import { setTimeout as sleep } from 'node:timers/promises'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMutex } from '../../src/util/mutex.ts'

class TooLate extends Error {}
const mutexOf = (milliseconds: number) => createMutex(milliseconds, () => new TooLate('too late'))

test('runs one at a time, in order of arrival', async () => {
  const mutex = mutexOf(1000)
  const events: string[] = []
  await Promise.all(
    [1, 2, 3, 4].map((n) =>
      mutex.run(async () => {
        events.push(`${n} in`)
        await sleep(5 - n)
        events.push(`${n} out`)
      }),
    ),
  )
  expect(events).toEqual([1, 2, 3, 4].flatMap((n) => [`${n} in`, `${n} out`]))
  expect(mutex.waiting).toBe(0)
})

test('gives back what the work gives or throws, and goes on after a failure of either kind', async () => {
  const mutex = mutexOf(1000)
  expect(await mutex.run(async () => 42)).toBe(42)
  const failing = [
    mutex.run(() => Promise.reject(new RangeError('later'))),
    mutex.run(() => {
      throw new RangeError('at once')
    }),
  ]
  for (const work of failing) await expect(work).rejects.toThrow(RangeError)
  expect(await mutex.run(async () => 'next')).toBe('next')
})

test('throws what `onTimeout` makes when the wait is too long, and never runs that work', async () => {
  const mutex = mutexOf(30)
  let ran = false
  const holder = mutex.run(() => sleep(120))
  const waiter = mutex.run(async () => void (ran = true))
  expect(mutex.waiting).toBe(1)
  await expect(waiter).rejects.toThrow(TooLate)
  expect(mutex.waiting).toBe(0)
  await holder
  await sleep(10)
  expect(ran).toBe(false)
  expect(await mutex.run(async () => 'free')).toBe('free')
})

test('gives up only who waited too long: those behind keep their turn', async () => {
  const mutex = mutexOf(60)
  const ran: string[] = []
  const first = mutex.run(() => sleep(80))
  const early = mutex.run(async () => void ran.push('early'))
  const failed = expect(early).rejects.toThrow(TooLate)
  await sleep(50)
  const late = mutex.run(async () => void ran.push('late'))
  await Promise.all([first, failed, late])
  expect(ran).toEqual(['late'])
})

test('the limit is for the wait, not for the work', async () => {
  const mutex = mutexOf(10)
  expect(await mutex.run(() => sleep(60, 'done'))).toBe('done')
})

test('never runs two at once, whatever fails or gives up', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ delay: fc.nat(3), work: fc.nat(3), fails: fc.boolean() }), { maxLength: 15 }),
      async (jobs) => {
        const mutex = mutexOf(4)
        let inside = 0
        let most = 0
        await Promise.allSettled(
          jobs.map(async ({ delay, work, fails }) => {
            await sleep(delay)
            return mutex.run(async () => {
              most = Math.max(most, ++inside)
              await sleep(work)
              inside--
              if (fails) throw new Error('fails')
            })
          }),
        )
        expect([most <= 1, inside, mutex.waiting]).toEqual([true, 0, 0])
        expect(await mutex.run(async () => 'free')).toBe('free')
      },
    ),
    { numRuns: 40 },
  )
})
