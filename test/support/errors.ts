import { findTenancyError } from '../../src/errors.ts'

/** The code that `work` fails with: ours, else the database's, also below what Drizzle wraps around it. */
export async function codeOf(work: () => unknown): Promise<string | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    const { code, cause } = error as { code?: string; cause?: { code?: string } }
    return findTenancyError(error)?.code ?? cause?.code ?? code
  }
}

/** The code that `work` throws, at once. */
export function codeNow(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return findTenancyError(error)?.code ?? (error as { code?: string }).code ?? String(error)
  }
}
