import type pg from 'pg'
import { findTenancyError } from '../../src/errors.ts'
import type { Ledger } from './ledger.ts'
import type { Random } from './random.ts'
import type { Database } from './schema.ts'
import type { Attacked } from './target.ts'

/** One tenant with everything it works with. */
export interface Attacker {
  readonly tenant: Attacked
  /** Driver-shaped, of the scoping under attack. */
  readonly client: pg.Pool
  readonly db: Database
  /** Built once, executed whenever and wherever. */
  readonly prepared: { execute(values: { least: number }): Promise<{ owner: string }[]> }
  readonly ledger: Ledger
}

/** What one operation is given. */
export interface Attempt extends Attacker {
  readonly random: Random
  /** Somebody else, whose things are at hand as in a careless application. */
  readonly stranger: Attacker
  /** The shared pool without any scope. */
  readonly pool: pg.Pool
  /** A reference for a row that is about to be written. */
  newRef(): string
  /** Checks the owners of rows that came back; fewer than `least` is a find too. */
  saw(owners: readonly unknown[], least?: number, whose?: Attacked): void
  /** Rows that came back without a scope. */
  leaked(rows: number): void
  /** Reports what must never be. */
  report(what: string): void
  /** Work that nobody waits for, as when a caller hangs up. It must end all the same. */
  drop(work: Promise<unknown>): void
}

/** One kind of attack. */
export interface Operation {
  readonly name: string
  /** How often, against the other operations. */
  readonly weight: number
  /** The codes with which it must fail; without, it must succeed. */
  readonly fails?: readonly string[]
  /** Codes that a cancelled statement in it may lead to. */
  readonly tolerates?: readonly string[]
  run(attempt: Attempt): Promise<unknown>
}

/**
 * For scopings that cannot do all that the product does: operations whose rows tell whose they are, and none that hangs
 * or kills where nothing keeps a connection in order.
 */
export function inspectableOnly({ name }: Operation): boolean {
  return !/given back|hangs up|left|raw|error|side by side|release|CALL|DO|timeout|fails|swallows/.test(name)
}

/** The code of ours or of PostgreSQL that an error, or what caused it, carries. */
export function codeOf(error: unknown): string | undefined {
  const ours = findTenancyError(error)?.code
  if (ours !== undefined) return ours
  for (let current = error, depth = 0; depth < 5 && typeof current === 'object' && current !== null; depth++) {
    if ('code' in current && typeof current.code === 'string') return current.code
    current = (current as { cause?: unknown }).cause
  }
  return undefined
}

/** Whether a superuser's cancel or kill explains this error. */
export function isChaos(error: unknown): boolean {
  const code = codeOf(error) ?? ''
  if (code === '57014' || code === 'TENANCY_ERR_DATABASE_UNAVAILABLE') return true
  return mayHaveCommitted(error)
}

/** False when the server itself said that the statement, or its transaction, failed. */
export function mayHaveCommitted(error: unknown): boolean {
  const code = codeOf(error)
  if (code === undefined) return /Connection (terminated|ended)|not queryable/i.test(String(causeOf(error)))
  return code === 'TENANCY_ERR_DATABASE_UNAVAILABLE' || /^(57P|08)/.test(code) || /^E[A-Z]{3,}$/.test(code)
}

function causeOf(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? causeOf(error.cause) : error
}
