import type { SQL } from 'drizzle-orm'
import type { LibSQLDatabase } from 'drizzle-orm/libsql'

/** Raw SQL, of which better-sqlite3 wants to be told whether it gives rows. */
export async function rowsOf(db: LibSQLDatabase, query: SQL): Promise<readonly Record<string, unknown>[]> {
  try {
    return await db.all(query)
  } catch (error) {
    if (!/does not return data/.test(String((error as { cause?: unknown }).cause ?? error))) throw error
    await db.run(query)
    return []
  }
}
