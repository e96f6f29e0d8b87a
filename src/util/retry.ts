const MIN_TRIES = 3
const MAX_TRIES = 15
const MAX_MS = 10_000
const FIRST_PAUSE_MS = 10
const LONGEST_PAUSE_MS = 400

/**
 * Runs `work` again when it failed in a way that a second try may not: at most 15 times, and after the third none begins
 * later than ten seconds after the first. The pauses grow and are random, so that those who got in each other's way meet no second time.
 * Throws the last error.
 */
export async function withRetries<T>(work: () => Promise<T>, isRetryable: (error: unknown) => boolean): Promise<T> {
  const end = performance.now() + MAX_MS
  for (let tries = 1; ; tries++) {
    try {
      return await work()
    } catch (error) {
      const over = tries >= MAX_TRIES || (tries >= MIN_TRIES && performance.now() > end)
      if (over || !isRetryable(error)) throw error
    }
    const pause = Math.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tries)
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
}
