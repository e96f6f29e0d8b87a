/** Work that is done in turns: one after the other for each key, at the same time for different keys. */
export type Turns = <T>(key: string, work: () => Promise<T>) => Promise<T>

/** Makes {@link Turns}. What fails keeps nobody from the next turn. */
export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  return async (key, work) => {
    const turn = (last.get(key) ?? Promise.resolve()).then(work, work)
    last.set(key, turn)
    try {
      return await turn
    } finally {
      if (last.get(key) === turn) last.delete(key)
    }
  }
}
