import type { StrategyName } from './tenant.ts'

/** One thing that was asked. */
export interface Check {
  readonly name: string
  readonly ok: boolean
  /** What is wrong. */
  readonly detail?: string
}

/** Whether a tenant is kept apart from all others. */
export interface VerifyReport {
  /** False when it is not. Not to find out is an error, never false. */
  readonly ok: boolean
  readonly checks: readonly Check[]
  /** What does not let rows cross, and should be otherwise all the same. */
  readonly warnings: readonly string[]
}

/** `error`: rows of another tenant could be reached. `warning`: they could not, yet. `info`: good to know. */
export type Severity = 'error' | 'warning' | 'info'

/** Something that a rule of the doctor has against a database. */
export interface Finding {
  /** A row of docs/doctor.md. */
  readonly rule: string
  readonly severity: Severity
  /** The server, where it is another one than `main`. */
  readonly server?: string
  /** The table, role, schema, setting or file. */
  readonly object: string
  /** What is wrong, in one sentence. */
  readonly detail: string
  /** What to do. */
  readonly cure: string
}

/** What was asked of a database, and what was found. */
export interface Inspection {
  /** The rules that were looked at; one without a finding is kept. */
  readonly rules: readonly string[]
  readonly findings: readonly Finding[]
}

/** What a strategy promises. */
export interface CellPromise {
  readonly strategy: StrategyName
  /**
   * `guarded`: no mistake of the application crosses. `walled`: SQL that is made to cross is stopped by the database too.
   */
  readonly level: 'guarded' | 'walled'
  /** What keeps tenants apart. */
  readonly by: string
}

/** The state of a database that tenants share. */
export interface DoctorReport extends Inspection {
  /** False when there is an error. */
  readonly ok: boolean
  /** What each configured strategy promises here. */
  readonly promises: readonly CellPromise[]
}
