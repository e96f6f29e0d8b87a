import type { Scope } from '../../src/contracts/isolation.ts'
import type { Db, Feature, OpenCell } from '../matrix/cell.ts'
import type { Ledger } from './ledger.ts'
import type { Random } from './random.ts'

/** One tenant under attack on a cell. */
export interface CellAttacker {
  /** Begins the title of every book of this tenant and of no other. */
  readonly marker: string
  readonly scope: Scope
  readonly db: Db
  readonly prepared: { execute(values: { id: number }): Promise<{ title: string }[]> }
  readonly ledger: Ledger
}

/** What one operation is given. It runs in the context of its tenant, as in a request. */
export interface CellAttempt extends CellAttacker {
  readonly opened: OpenCell
  readonly random: Random
  readonly stranger: CellAttacker
  /** Whether the databases of others refuse to work here. */
  readonly guarded: boolean
  /** Runs something in the context of another tenant. */
  as<T>(whom: CellAttacker, work: () => Promise<T>): Promise<T>
  /** Runs something in the context of none. */
  outside<T>(work: () => Promise<T>): Promise<T>
  /** A transaction for a whole request. */
  request(): { readonly db: Db; commit(): Promise<void>; rollback(): Promise<void> }
  newTitle(): string
  /** What this attempt wrote and is not known to be committed was undone, for certain. */
  undone(): void
  /** Checks that all these titles are of `whose`; fewer than `least` is a find too. */
  saw(rows: readonly { readonly title: unknown }[], least?: number, whose?: CellAttacker): void
  report(what: string): void
  /** Work that nobody waits for. */
  drop(work: Promise<unknown>): void
}

/** Ids that every tenant has from the start and keeps. */
export const SEEDED_IDS = [1_000_101, 1_000_102, 1_000_103]

/** The author of all books. */
export const AUTHOR = 1

/** One kind of attack. */
export interface CellOperation {
  readonly name: string
  readonly weight: number
  /** Whether it must fail. */
  readonly fails?: true
  readonly needs?: Feature
  /** What makes it impossible. */
  readonly unless?: Feature
  /** Whether this database can be attacked like that. */
  readonly possible?: (opened: OpenCell) => boolean
  run(attempt: CellAttempt): Promise<unknown>
}
