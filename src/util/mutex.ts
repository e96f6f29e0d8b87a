/** One at a time, in order of arrival, with a limit to the wait. */
export interface Mutex {
  /** Runs `work` when all before it are done; throws what `onTimeout` makes when that takes longer than `timeoutMs`. */
  run<T>(work: () => Promise<T>): Promise<T>
  readonly waiting: number
}

/** Makes a {@link Mutex}. */
export function createMutex(timeoutMs: number, onTimeout: () => Error): Mutex {
  let busy = false
  const queue: (() => void)[] = []

  const enter = (): Promise<void> => {
    if (!busy) {
      busy = true
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        queue.splice(queue.indexOf(start), 1)
        reject(onTimeout())
      }, timeoutMs)
      const start = () => {
        clearTimeout(timer)
        resolve()
      }
      queue.push(start)
    })
  }
  const leave = () => {
    const next = queue.shift()
    if (next === undefined) busy = false
    else next()
  }

  return Object.freeze({
    async run<T>(work: () => Promise<T>) {
      await enter()
      try {
        return await work()
      } finally {
        leave()
      }
    },
    get waiting() {
      return queue.length
    },
  })
}
