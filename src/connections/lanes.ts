/** Called once, with a connection or with what kept it from coming. */
export type Ready<C> = (failure: Error | undefined, connection?: C) => void

/** Somebody who asked for a connection of a key. */
export interface Waiter<C> {
  readonly ready: Ready<C>
  readonly timer: NodeJS.Timeout
  /** Who came first has the lower one. */
  readonly ticket: number
}

/** One connection, from the moment its place is taken until it is closed. */
export interface Entry<C> {
  readonly lane: Lane<C>
  /** Not there yet while it is being opened. */
  connection: C | undefined
  state: 'opening' | 'idle' | 'lent'
  /** To be closed as soon as nobody uses it. */
  doomed: boolean
  openedAt: number
  idleSince: number
  /** Until then who waits for the same key comes first. */
  turnEnds: number
}

/** What the pool knows of one key. */
export interface Lane<C> {
  readonly key: string
  readonly entries: Set<Entry<C>>
  /** The one used last is at the end, and is lent first. */
  readonly idle: Entry<C>[]
  /** First come, first served. */
  readonly waiting: Waiter<C>[]
  opening: number
}

/**
 * How long a connection stays with its key while others wait: opening one costs far more than a statement, and changing
 * the key after each would leave time for little else.
 */
export const TURN_MS = 50

/** The books of a keyed pool: who has what, and whose turn it is. Opens and closes nothing. */
export class Lanes<C extends object> {
  /** All idle connections, the one used least recently first. */
  readonly idle: Set<Entry<C>> = new Set()
  readonly #perKey: number
  readonly #lanes = new Map<string, Lane<C>>()
  readonly #byConnection = new Map<C, Entry<C>>()
  #size = 0
  #waiting = 0

  constructor(perKey: number) {
    this.#perKey = perKey
  }

  /** Connections that are open or being opened. */
  get size(): number {
    return this.#size
  }

  get waiting(): number {
    return this.#waiting
  }

  /** The lane of a key. One without connections and waiters is forgotten. */
  of(key: string): Lane<C> {
    let lane = this.#lanes.get(key)
    if (lane === undefined) {
      lane = { key, entries: new Set(), idle: [], waiting: [], opening: 0 }
      this.#lanes.set(key, lane)
    }
    return lane
  }

  /** What is open or being opened for a key. */
  entriesOf(key: string): readonly Entry<C>[] {
    return [...(this.#lanes.get(key)?.entries ?? [])]
  }

  lent(): readonly Entry<C>[] {
    return [...this.#byConnection.values()].filter(({ state }) => state === 'lent')
  }

  holding(connection: C): Entry<C> | undefined {
    return this.#byConnection.get(connection)
  }

  enqueue(lane: Lane<C>, waiter: Waiter<C>): void {
    lane.waiting.push(waiter)
    this.#waiting++
  }

  /** Takes the first waiter out, or this one. */
  dequeue(lane: Lane<C>, waiter: Waiter<C> | undefined = lane.waiting[0]): Waiter<C> | undefined {
    if (waiter !== undefined) {
      lane.waiting.splice(lane.waiting.indexOf(waiter), 1)
      this.#waiting--
    }
    this.#tidy(lane)
    return waiter
  }

  /** Takes all waiters out. */
  dismiss(): readonly Waiter<C>[] {
    this.#waiting = 0
    return [...this.#lanes.values()].flatMap((lane) => {
      const waiters = lane.waiting.splice(0)
      this.#tidy(lane)
      return waiters
    })
  }

  /** Takes a place for a connection that is about to be opened. */
  reserve(lane: Lane<C>): Entry<C> {
    const entry: Entry<C> = {
      lane,
      connection: undefined,
      state: 'opening',
      doomed: false,
      openedAt: 0,
      idleSince: 0,
      turnEnds: 0,
    }
    lane.entries.add(entry)
    lane.opening++
    this.#size++
    return entry
  }

  /** Whether someone still waits for one more connection of this lane than comes without it. */
  wants({ waiting, opening }: Lane<C>): boolean {
    return waiting.length >= opening
  }

  opened(entry: Entry<C>, connection: C): void {
    entry.connection = connection
    entry.openedAt = performance.now()
    entry.lane.opening--
    this.#byConnection.set(connection, entry)
    // Nobody has it yet: whoever reserved the place may have left.
    entry.state = 'lent'
  }

  rest(entry: Entry<C>): void {
    entry.state = 'idle'
    entry.idleSince = performance.now()
    entry.lane.idle.push(entry)
    this.idle.add(entry)
  }

  lend(entry: Entry<C>): C {
    this.#unrest(entry)
    const now = performance.now()
    if (now >= entry.turnEnds) entry.turnEnds = now + TURN_MS
    entry.state = 'lent'
    return entry.connection as C
  }

  /** Gives the place of a connection back. */
  remove(entry: Entry<C>): void {
    const { lane, connection, state } = entry
    if (state === 'idle') this.#unrest(entry)
    if (state === 'opening') lane.opening--
    if (connection !== undefined) this.#byConnection.delete(connection)
    if (lane.entries.delete(entry)) this.#size--
    this.#tidy(lane)
  }

  /** The lane whose turn it is: one that has not ended, then who has the fewest connections, then who came first. */
  next(): Lane<C> | undefined {
    // After nearly every statement, so it must cost nothing.
    if (this.#waiting === 0) return undefined
    const now = performance.now()
    let best: Lane<C> | undefined
    for (const lane of this.#lanes.values()) {
      if (lane.waiting.length > 0 && (lane.idle.at(-1)?.turnEnds ?? 0) > now) return lane
      if (this.#canBeServed(lane) && (best === undefined || isBefore(lane, best))) best = lane
    }
    return best
  }

  #canBeServed({ waiting, idle, opening, entries }: Lane<C>): boolean {
    if (waiting.length === 0) return false
    return idle.length > 0 || (waiting.length > opening && entries.size < this.#perKey)
  }

  #unrest(entry: Entry<C>): void {
    const { idle } = entry.lane
    idle.splice(idle.lastIndexOf(entry), 1)
    this.idle.delete(entry)
  }

  #tidy({ key, entries, waiting }: Lane<C>): void {
    if (entries.size === 0 && waiting.length === 0) this.#lanes.delete(key)
  }
}

function isBefore<C>(one: Lane<C>, other: Lane<C>): boolean {
  const difference = busy(one) - busy(other)
  if (difference !== 0) return difference < 0
  return (one.waiting[0]?.ticket ?? 0) < (other.waiting[0]?.ticket ?? 0)
}

function busy<C>({ entries, idle }: Lane<C>): number {
  return entries.size - idle.length
}
