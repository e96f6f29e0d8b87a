import { tenancyError } from '../../../errors.ts'
import type { Lease } from './mssql-lease.ts'
import { lend, type Pool } from './mssql-pool.ts'
import { createRequest, type RequestTarget, type TenantRequest } from './mssql-request.ts'
import type { RowStream } from './mssql-row-stream.ts'
import { runStream } from './mssql-run-stream.ts'
import type { MssqlStatement } from './mssql-statement.ts'
import { admit, type TenantSession } from './mssql-tenant-session.ts'
import { TenantTransaction } from './mssql-tenant-transaction.ts'

/**
 * What Drizzle takes for a pool of mssql: confined to one tenant for ever, over the pool that all tenants share. No field
 * of that one can be reached through it.
 */
export function tenantPool(pool: Pool, session: TenantSession): object {
  const target: RequestTarget = Object.freeze({
    query: (statement: MssqlStatement) => run(pool, session, statement, (lease, sent) => lease.send(sent)),
    stream: async (statement: MssqlStatement, rows: RowStream) => {
      try {
        await run(pool, session, statement, (lease, sent) => runStream(lease, sent, rows))
        rows.end()
      } catch (error) {
        rows.end(error)
      }
    },
  })
  return poolShaped(
    () => createRequest(target),
    () => new TenantTransaction(pool, session).client,
  )
}

/** An object with these members that passes for a connected pool. It cannot be closed. */
export function poolShaped(request: () => TenantRequest, transaction: () => object): object {
  const close = () =>
    Promise.reject(tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the shared pool closes with the app, not by hand']))
  return Object.freeze({ request, transaction, close, connected: true })
}

/** One statement on the shared pool: a connection for just as long. */
async function run<T>(
  pool: Pool,
  session: TenantSession,
  given: MssqlStatement,
  send: (lease: Lease, statement: MssqlStatement) => Promise<T>,
): Promise<T> {
  session.guard()
  const { kind, statement } = admit(session, given)
  if (kind !== 'plain') {
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['transaction control on a pool; use `transaction()`'])
  }
  session.onStatement?.(statement.text)
  const lease = await lend(pool)
  try {
    // The wait for a connection may have been long enough for the tenant to be suspended.
    session.guard('send')
    return await send(lease, statement)
  } finally {
    lease.release()
  }
}
