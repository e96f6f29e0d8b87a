import type { Outcome } from '../../../verification/canary.ts'

/** What a tenant's client gives. */
interface Executable {
  execute(text: string): Promise<{ readonly rows: readonly unknown[]; readonly rowsAffected: number }>
}

/** Sends statements one after the other, and tells what came of the last. */
export async function outcomeOn(client: object, statements: readonly string[]): Promise<Outcome> {
  let last: Outcome = 0
  for (const text of statements) {
    const { rows, rowsAffected } = await (client as Executable).execute(text)
    last = rows.length > 0 ? rows.length : rowsAffected
  }
  return last
}
