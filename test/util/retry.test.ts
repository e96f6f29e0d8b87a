import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { withRetries } from '../../src/util/retry.ts'

describe('withRetries', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  const failing = (times: number, error: Error) => {
    let tries = 0
    const work = async () => {
      if (++tries <= times) throw error
      return tries
    }
    return { work, tries: () => tries }
  }
  const settled = async <T>(promise: Promise<T>) => {
    const result = promise.catch((error: unknown) => error)
    await vi.runAllTimersAsync()
    return result
  }

  it('gives the first success', async () => {
    expect(await settled(withRetries(failing(0, new RangeError()).work, () => true))).toBe(1)
    expect(await settled(withRetries(failing(9, new RangeError()).work, () => true))).toBe(10)
  })

  it('repeats nothing that a second try would not help', async () => {
    const error = new RangeError('no')
    const { work, tries } = failing(1, error)
    expect(await settled(withRetries(work, (thrown) => thrown !== error))).toBe(error)
    expect(tries()).toBe(1)
  })

  it('[W42] gives up after 15 tries with the last error', async () => {
    const error = new RangeError('again')
    const { work, tries } = failing(100, error)
    expect(await settled(withRetries(work, () => true))).toBe(error)
    expect(tries()).toBe(15)
  })

  it.each([
    [20_000, 3],
    [3000, 4],
  ])('[W42] begins none once ten seconds are over, but for the second and third', async (milliseconds, expected) => {
    const error = new RangeError('slow')
    let tries = 0
    const slow = async () => {
      tries++
      await new Promise((resolve) => setTimeout(resolve, milliseconds))
      throw error
    }
    expect(await settled(withRetries(slow, () => true))).toBe(error)
    expect(tries).toBe(expected)
  })

  it('pauses for times that are not the same for two', async () => {
    vi.spyOn(Math, 'random').mockReturnValueOnce(0).mockReturnValueOnce(0.999)
    const start = Date.now()
    expect(await settled(withRetries(failing(2, new RangeError()).work, () => true))).toBe(3)
    expect(Date.now() - start).toBeGreaterThan(30)
    expect(Date.now() - start).toBeLessThanOrEqual(40)
    vi.restoreAllMocks()
  })
})
