import { setTimeout as sleep } from 'node:timers/promises'
import type { TenantCache } from '../contracts/cache.ts'
import type { ChangeChannel, RegistryChanges } from '../contracts/changes.ts'
import { tenancyError } from '../errors.ts'
import { inTime } from '../util/in-time.ts'
import type { CachedTenantStore } from './cached-store.ts'
import { isTenantId } from './tenant-input.ts'

/** Options of {@link createChangeFeed}. */
export interface ChangeFeedOptions {
  /** A store whose caches learn what it reads. */
  readonly store: Pick<CachedTenantStore, 'changes' | 'refresh'>
  readonly cache: Pick<TenantCache, 'forget' | 'clear'>
  /** Without one the feed looks for itself, often. */
  readonly channel?: ChangeChannel | undefined
  /** Told a sentence when the channel or the registry does not answer for a while, and when it does again. */
  readonly warn: (sentence: string) => void
}

/** Keeps the caches of this process up with what other processes write. */
export interface ChangeFeed {
  /**
   * Notes where the registry is now, then listens and looks until `close()`. Once: where it runs already, nothing has been
   * missed since. @throws TENANCY_ERR_STORE_UNAVAILABLE
   */
  start(): Promise<void>
  /** Whether the channel is healthy and the last look succeeded: nothing that is cached is older than a second. */
  readonly healthy: boolean
  close(): void
}

/** Milliseconds between two looks while no channel is healthy that loses nothing. Half a second is left for what a look takes. */
const OFTEN_MS = 400
/** Milliseconds between two looks while it is. */
const SELDOM_MS = 5000
/** Milliseconds from the end of one look to the next at least, however many messages come: anybody may send them. */
const PAUSE_MS = 50
/** How long a message makes the feed look often: its sender may die between the commit and the next message. */
const ALERT_MS = 3000
/** A read that takes longer is tried again beside itself, on another connection: its own may be dead. */
const RETRY_MS = 150
const MAX_TRIES = 4
/** A read that takes longer is given up. */
const PATIENCE_MS = 1000
/** What lasts shorter is not worth a line in the log. */
const WORTH_TELLING_MS = 3000

/**
 * A message of the channel says only that there is something to read; what changed is read from the registry after the
 * last position, so a message that is lost, forged or late does no harm, and many cost no more reads than some. A store that cannot
 * tell is asked for those that a message named. While the channel is not healthy, or writers could
 * fail to reach it, the feed looks often, so a tenant that is suspended anywhere is refused here within a second. While neither the channel nor the
 * registry answers, what is cached lives until its TTL.
 */
export function createChangeFeed({ store, cache, channel, warn }: ChangeFeedOptions): ChangeFeed {
  let position: string | undefined
  let looking: Promise<void> | undefined
  let again = false
  let answers = true
  let alertUntil = 0
  let timer: NodeJS.Timeout | undefined
  let running = false
  let closed = false
  /** Whom messages named, for a store that cannot tell its changes itself. */
  const heard = new Set<string>()
  const report = reporter(warn)

  /** Many tries only where the registry answered before: one that is slow is not asked more for it. */
  async function read(): Promise<RegistryChanges | undefined> {
    const settled = new AbortController()
    const tries = Array.from({ length: answers ? MAX_TRIES : 1 }, async (_, n) => {
      if (n > 0) await sleep(RETRY_MS * n, undefined, { signal: settled.signal })
      return store.changes?.(position)
    })
    return inTime(Promise.any(tries), PATIENCE_MS, silent).finally(() => settled.abort())
  }

  async function refresh(): Promise<void> {
    const ids = [...heard]
    heard.clear()
    await inTime(store.refresh(ids), PATIENCE_MS, silent).catch((error: unknown) => {
      for (const id of ids) heard.add(id)
      throw error
    })
  }

  async function catchUp(): Promise<void> {
    if (store.changes === undefined) return refresh()
    for (let reads = 1; ; reads++) {
      const changes = await read()
      if (changes === undefined || closed) return
      position = changes.position
      // Another registry announces under another name.
      if (changes.reset) reopen()
      if (!changes.more) return
      // Far behind: nothing that is cached can be believed until all is read.
      if (reads === 1) cache.clear()
    }
  }

  function reopen(): void {
    channel?.close()
    channel?.open(listener)
  }

  async function lookUntilQuiet(): Promise<void> {
    do {
      again = false
      answers = await catchUp().then(
        () => true,
        () => false,
      )
      await sleep(PAUSE_MS, undefined, { ref: false })
    } while (again && answers)
  }

  /** One look at a time; who asks meanwhile gets another one. */
  function look(): void {
    if (closed || (store.changes === undefined && heard.size === 0)) return
    clearTimeout(timer)
    again = looking !== undefined
    looking ??= lookUntilQuiet().finally(() => {
      looking = undefined
      schedule()
    })
  }

  const sure = (): boolean => channel?.healthy === true && channel.lossless && answers
  const watchful = (): boolean => !sure() || performance.now() < alertUntil

  function schedule(): void {
    clearTimeout(timer)
    if (closed) return
    report(
      'The registry',
      answers,
      'changes of other processes are not seen, and tenants are served from the cache until they expire',
    )
    if (channel !== undefined)
      report('The channel for changes', channel.healthy, 'changes are looked for in the registry instead')
    timer = setTimeout(look, (watchful() ? OFTEN_MS : SELDOM_MS) - PAUSE_MS).unref()
  }

  const listener = {
    changed(id: string) {
      if (!isTenantId(id)) return
      cache.forget(id)
      alertUntil = performance.now() + ALERT_MS
      if (store.changes === undefined) heard.add(id)
      look()
    },
    healthChanged: look,
  }

  return Object.freeze({
    async start() {
      if (running) return
      position = (await store.changes?.())?.position
      if (closed) return
      running = true
      channel?.open(listener)
      schedule()
    },
    get healthy() {
      return answers && channel?.healthy === true
    },
    close() {
      closed = true
      again = false
      clearTimeout(timer)
      channel?.close()
    },
  })
}

const silent = () => tenancyError('TENANCY_ERR_STORE_UNAVAILABLE')

/** Tells a state once, when it has lasted. */
function reporter(warn: (sentence: string) => void) {
  const told = new Map<string, boolean>()
  const changed = new Map<string, number>()
  return (what: string, good: boolean, consequence: string): void => {
    if ((told.get(what) ?? true) === good) {
      changed.delete(what)
      return
    }
    const since = changed.get(what) ?? performance.now()
    changed.set(what, since)
    if (!good && performance.now() - since < WORTH_TELLING_MS) return
    told.set(what, good)
    warn(good ? `${what} answers again.` : `${what} does not answer: ${consequence}.`)
  }
}
