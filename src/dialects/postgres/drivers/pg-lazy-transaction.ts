import { byStatements, createSharedTransaction, type Nesting } from '../../../connections/shared-transaction.ts'
import { openTransactions } from '../../../context.ts'
import type { LazyTransaction } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { statementKind } from '../statement-kind.ts'
import { queryConfig, type TenantClient, type TenantSession } from './pg-tenant-client.ts'
import type { ConnectionSource } from './pg-pool.ts'
import { connectTenant, poolShaped } from './pg-tenant-pool.ts'
import type { PgQueryConfig, PgResult } from './pg-types.ts'

type Query = (config: string | PgQueryConfig, values?: readonly unknown[]) => Promise<PgResult>

/**
 * One transaction for several statements of a request. It takes a connection at the first statement; a
 * `db.transaction()` on it becomes a savepoint.
 */
export function lazyTransaction(source: ConnectionSource, session: TenantSession, timeoutMs: number): LazyTransaction {
  const transaction = createSharedTransaction<TenantClient>({
    depth: openTransactions,
    timeoutMs,
    ...byStatements(() => connectTenant(source, session)),
  })
  const query: Query = async (config, values) => {
    const statement = queryConfig(config, values)
    if (statementKind(statement.text).kind !== 'plain' && statementKind(statement.text).kind !== 'procedure') {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the transaction of a request is committed by the library'])
    }
    return (await transaction.connection()).query(statement) as Promise<PgResult>
  }
  return Object.freeze({
    client: poolShaped(source.pg, { query, connect: async () => savepointClient(await transaction.nest()) }),
    commit: transaction.commit,
    rollback: transaction.rollback,
  })
}

/** The transaction's connection for one nested transaction: its BEGIN, COMMIT and ROLLBACK speak of a savepoint. */
function savepointClient({ connection: client, savepoint, begun, over }: Nesting<TenantClient>): object {
  let open = false
  let released = false
  const end = (text: string) => {
    open = false
    return client.query(text)
  }
  const release = () => {
    if (released) return
    released = true
    if (open) void Promise.resolve(end(`rollback to savepoint ${savepoint}`)).catch(() => {})
    over()
  }
  const begin = async (options: string): Promise<unknown> => {
    if (open) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a nested transaction that has begun already'])
    try {
      if (options !== '') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a nested transaction takes no options'])
      const result = await client.query(`savepoint ${savepoint}`)
      open = true
      begun()
      return result
    } catch (error) {
      // Drizzle keeps a client whose BEGIN failed, and who comes next would wait for it.
      release()
      throw error
    }
  }
  const query = (config: string | PgQueryConfig, values?: readonly unknown[]): unknown => {
    if (released) return Promise.reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
    const statement = queryConfig(config, values)
    const control = statementKind(statement.text)
    if (control.kind === 'begin') return begin(control.options)
    if (!open) return Promise.reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
    if (control.kind === 'commit') return end(`release savepoint ${savepoint}`)
    if (control.kind === 'rollback') return end(`rollback to savepoint ${savepoint}`)
    return client.query(statement)
  }
  const listen = () => undefined
  return Object.freeze({ query, release, on: listen, off: listen, once: listen, removeListener: listen })
}
