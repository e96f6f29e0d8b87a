/** Nothing is asked of a dependency unless it is `closed`. */
export type CircuitState = 'open' | 'half-open' | 'closed'

/** What {@link createCircuit} takes. */
export interface CircuitOptions {
  /** Proves that the dependency does its work. Tried again and again until it does. */
  readonly probe: () => Promise<void>
  /** Asked after a probe, in the same breath as closing: false for another probe. */
  readonly mayClose: () => boolean
  /** Called when it opens or closes, not for each try; for the first time when the first try has ended. */
  readonly onChange: (state: 'open' | 'closed', cause?: unknown) => void
}

/** Keeps away from a dependency that is away. */
export interface Circuit {
  readonly state: CircuitState
  /** Tries for the first time, unless `retry` does before the first pause has ended. */
  start(): void
  /** What `work` gives; undefined when the circuit is not closed, or when `work` fails. */
  run<T>(work: () => Promise<T>): Promise<T | undefined>
  /** Opens it. */
  open(cause: unknown): void
  /** Does not wait for the end of the pause. */
  retry(): void
  stop(): void
}

/** As many failures within this time open it, however much succeeds in between: a part may be away. */
const THRESHOLD = 3
const WINDOW_MS = 10_000

const PAUSE_MS = 500
const LONGEST_PAUSE_MS = 8000
/** What was closed for less had not recovered: the next pause is longer. */
const STEADY_MS = 30_000

/** A circuit breaker. The probe runs by itself, never at the cost of a request. */
export function createCircuit({ probe, mayClose, onChange }: CircuitOptions): Circuit {
  let state: CircuitState = 'open'
  let told: 'open' | 'closed' | undefined
  let failures: number[] = []
  let pause = PAUSE_MS
  let closedAt = Number.NEGATIVE_INFINITY
  let attempts = 0
  let timer: NodeJS.Timeout | undefined
  let stopped = false

  function become(now: 'open' | 'closed', cause?: unknown): void {
    state = now
    if (told === now) return
    told = now
    onChange(now, cause)
  }

  function open(cause: unknown): void {
    if (stopped || state === 'open') return
    attempts++
    if (state === 'closed') {
      pause = performance.now() - closedAt < STEADY_MS ? Math.min(pause * 2, LONGEST_PAUSE_MS) : PAUSE_MS
    }
    schedule()
    become('open', cause)
  }

  function schedule(): void {
    clearTimeout(timer)
    timer = setTimeout(() => void attempt(), pause * (0.75 + Math.random() / 2)).unref()
  }

  async function attempt(): Promise<void> {
    if (stopped || state !== 'open') return
    clearTimeout(timer)
    state = 'half-open'
    const mine = ++attempts
    const current = () => mine === attempts && !stopped
    try {
      do await probe()
      while (current() && !mayClose())
    } catch (error) {
      if (current()) open(error)
      return
    }
    if (!current()) return
    failures = []
    closedAt = performance.now()
    become('closed')
  }

  return Object.freeze({
    get state() {
      return state
    },
    start: schedule,
    async run<T>(work: () => Promise<T>): Promise<T | undefined> {
      if (state !== 'closed') return undefined
      try {
        return await work()
      } catch (error) {
        const now = performance.now()
        failures = [...failures.filter((moment) => moment > now - WINDOW_MS), now]
        if (failures.length >= THRESHOLD) open(error)
        return undefined
      }
    },
    open,
    retry: () => void attempt(),
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  })
}
