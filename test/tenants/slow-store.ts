import type { TenantStore } from '../../src/contracts/store.ts'
import { tenancyError } from '../../src/errors.ts'

/** A real store whose reads and writes are counted, and can be held after they are done, or be cut off. */
export function createSlowStore(store: TenantStore) {
  const gates: Promise<void>[] = []
  const failures: ('before' | 'after')[] = []
  let reads = 0
  async function through<T>(work: () => Promise<T>): Promise<T> {
    const gate = gates.shift()
    const failure = failures.shift()
    if (failure === 'before') throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
    const result = await work()
    await gate
    if (failure === 'after') throw tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')
    return result
  }
  const read = <T>(work: () => Promise<T>): Promise<T> => {
    reads++
    return through(work)
  }
  const slow: TenantStore = {
    ...store,
    getById: (id) => read(() => store.getById(id)),
    getByIdentifier: (identifier) => read(() => store.getByIdentifier(identifier)),
    insert: (tenant) => through(() => store.insert(tenant)),
    update: (...parameters) => through(() => store.update(...parameters)),
    setStatus: (...parameters) => through(() => store.setStatus(...parameters)),
    discard: (id) => through(() => store.discard(id)),
    list: (options) => through(() => store.list(options)),
  }
  return {
    store: slow,
    reads: () => reads,
    /** Holds the result of the next call until the function given back is called. */
    hold(): () => void {
      let release = (): void => undefined
      gates.push(new Promise((resolve) => (release = resolve)))
      return () => release()
    },
    /** Fails the next call, before or after it took effect. */
    fail: (when: 'before' | 'after') => failures.push(when),
  }
}
