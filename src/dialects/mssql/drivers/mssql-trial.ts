import type { Send } from '../verify/trial.ts'
import { onLease } from './mssql-admin.ts'
import type { Pool } from './mssql-pool.ts'
import { scoped, statementOf } from './mssql-statement.ts'
import { type MssqlModule, READ_COMMITTED } from './mssql-types.ts'

/** One transaction on a serving connection, undone in any case, in which each statement is sent as a tenant's is. */
export function asTenants<T>(
  { serving, mssql }: { readonly serving: Pool; readonly mssql: MssqlModule },
  work: (as: (rowKey: string | null) => Send) => Promise<T>,
): Promise<T> {
  const type = mssql.NVarChar(36)
  return onLease(serving, async (lease) => {
    await lease.begin(READ_COMMITTED)
    try {
      return await work(
        (rowKey) => (text, parameters) => lease.send(scoped(statementOf(text, parameters), { value: rowKey, type })),
      )
    } finally {
      // After some errors the server has done so itself.
      if (lease.inTransaction) await lease.rollback().catch(() => lease.taint())
    }
  })
}
