import type { Check, VerifyReport } from '../contracts/verification.ts'

/** One check: it is good when there are no faults. */
export function check(name: string, faults: readonly string[]): Check {
  return Object.freeze(faults.length === 0 ? { name, ok: true } : { name, ok: false, detail: faults.join('; ') })
}

/** All checks together. */
export function report(checks: readonly Check[], warnings: readonly string[] = []): VerifyReport {
  return Object.freeze({
    ok: checks.every(({ ok }) => ok),
    checks: Object.freeze([...checks]),
    warnings: Object.freeze([...warnings]),
  })
}
