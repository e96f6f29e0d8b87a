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
