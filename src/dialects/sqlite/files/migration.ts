import { statementFailure } from '../failure.ts'
import type { NamespaceTransaction } from '../namespace-session.ts'
import type { DatabaseFile } from './database-file.ts'
import type { SqliteTransaction } from './connection-types.ts'

/** What happens around a migration's transaction, while nobody else can write to the file. */
export interface MigrationHooks {
  /** Before the work. */
  begun?(): void
  /** In place of COMMIT, when something threw. */
  failed?(): void
}

/**
 * Runs `work` in one transaction on a connection of its own, with foreign keys off. For who has the lock of `file`; another
 * process waits for SQLite's own lock.
 */
export async function inMigration<T>(
  file: DatabaseFile,
  work: (transaction: NamespaceTransaction) => Promise<T>,
  { begun, failed }: MigrationHooks = {},
): Promise<T> {
  const { raw, commit, end } = await file.begin('ddl')
  try {
    begun?.()
    const result = await work(transactionOn(raw))
    await commit()
    return result
  } catch (error) {
    failed?.()
    throw statementFailure(error, file.timeoutMs)
  } finally {
    end()
  }
}

function transactionOn(raw: SqliteTransaction): NamespaceTransaction {
  return {
    async query<TRow>(text: string, parameters: readonly unknown[] = []) {
      const { rows } = await raw.execute({ sql: text, args: parameters })
      return rows as unknown as TRow[]
    },
    run: (text) => raw.executeMultiple(text),
  }
}
