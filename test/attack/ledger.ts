/** What is known of a row: `unknown` when its connection died before the answer. */
export type Fate = 'present' | 'absent' | 'unknown'

interface Entry {
  fate: Fate
  /** Value of `n`; undefined when an update got no answer. */
  n: number | undefined
  /** What made it absent. */
  why?: string
}

/** A row that one operation has to itself. */
export interface Claim {
  readonly ref: string
  /** The row got this value for certain. */
  updated(n: number): void
  /** The row is gone for certain. */
  deleted(): void
}

/** What one tenant was told about its writes, to be compared with what the database holds in the end. */
export class Ledger {
  readonly #entries = new Map<string, Entry>()
  readonly #free: string[] = []

  /** A row is about to be written: until more is known, it may or may not be there. */
  expect(ref: string): void {
    this.#entries.set(ref, { fate: 'unknown', n: 0 })
  }

  /** The server said that the row was committed. */
  committed(ref: string, n = 0): void {
    this.#entries.set(ref, { fate: 'present', n })
    this.#free.push(ref)
  }

  /** The row was certainly not committed. */
  refused(ref: string, why = 'refused'): void {
    this.#entries.set(ref, { fate: 'absent', n: 0, why })
  }

  /** Forgets what is not known of the row that was announced: it failed for certain. */
  settle(ref: string, why?: string): void {
    if (this.#entries.get(ref)?.fate === 'unknown') this.refused(ref, why)
  }

  /** Takes a committed row for an update or delete of one operation. */
  claim(): Claim | undefined {
    const ref = this.#free.shift()
    if (ref === undefined) return undefined
    this.#entries.set(ref, { fate: 'unknown', n: undefined })
    return {
      ref,
      updated: (n) => this.committed(ref, n),
      deleted: () => this.refused(ref, 'deleted'),
    }
  }

  /** How many rows were acknowledged and are expected. */
  get acknowledged(): number {
    return [...this.#entries.values()].filter(({ fate }) => fate === 'present').length
  }

  /** Compares with the rows of this tenant's schema; one sentence for every difference. */
  differences(rows: ReadonlyMap<string, number>): string[] {
    const differences: string[] = []
    for (const [ref, { fate, n, why }] of this.#entries) {
      const stored = rows.get(ref)
      if (fate === 'present' && stored === undefined) differences.push(`${ref} was acknowledged and is lost`)
      if (fate === 'absent' && stored !== undefined) differences.push(`${ref} is there, although: ${why}`)
      if (fate === 'present' && stored !== undefined && stored !== n) differences.push(`${ref} is ${stored}, not ${n}`)
    }
    for (const ref of rows.keys())
      if (!this.#entries.has(ref) && !ref.includes('-seed-')) differences.push(`${ref} was never written by its tenant`)
    return differences
  }
}
