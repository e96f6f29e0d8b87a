import { byStatements, createSharedTransaction, type Nesting } from '../../../connections/shared-transaction.ts'
import { openTransactions } from '../../../context.ts'
import type { LazyTransaction } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { statementKind } from '../statement-kind.ts'
import type { Pool } from './mysql-pool.ts'
import { type MysqlQueryConfig, statementOf } from './mysql-statement.ts'
import type { Result, TenantConnection, TenantSession } from './mysql-tenant-connection.ts'
import { connectTenant, poolShaped } from './mysql-tenant-pool.ts'

type Query = (config: string | MysqlQueryConfig, values?: readonly unknown[]) => Promise<Result>

/**
 * One transaction for several statements of a request. It takes a connection at the first statement; a
 * `db.transaction()` on it becomes a savepoint.
 */
export function lazyTransaction(pool: Pool, session: TenantSession, timeoutMs: number): LazyTransaction {
  const transaction = createSharedTransaction<TenantConnection>({
    depth: openTransactions,
    timeoutMs,
    ...byStatements(() => connectTenant(pool, session)),
  })
  const query: Query = async (config, values) => {
    const statement = statementOf(config, values)
    const { kind } = statementKind(statement.sql)
    if (kind !== 'plain' && kind !== 'procedure' && kind !== 'refused') {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the transaction of a request is committed by the library'])
    }
    return (await transaction.connection()).query(statement)
  }
  return Object.freeze({
    client: poolShaped({ query, getConnection: async () => savepointConnection(await transaction.nest()) }),
    commit: transaction.commit,
    rollback: transaction.rollback,
  })
}

/** The transaction's connection for one nested transaction: its BEGIN, COMMIT and ROLLBACK speak of a savepoint. */
function savepointConnection({ connection, savepoint, begun, over }: Nesting<TenantConnection>): object {
  let open = false
  let released = false
  const end = (text: string) => {
    open = false
    return connection.query(text)
  }
  const release = () => {
    if (released) return
    released = true
    if (open) void end(`rollback to savepoint ${savepoint}`).catch(() => {})
    over()
  }
  const begin = async (takesOptions: boolean): Promise<Result> => {
    if (open) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a nested transaction that has begun already'])
    try {
      if (takesOptions) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a nested transaction takes no options'])
      const result = await connection.query(`savepoint ${savepoint}`)
      open = true
      begun()
      return result
    } catch (error) {
      // Drizzle keeps a connection whose BEGIN failed, and who comes next would wait for it.
      release()
      throw error
    }
  }
  const query: Query = async (config, values) => {
    if (released) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    const statement = statementOf(config, values)
    const { kind } = statementKind(statement.sql)
    if (kind === 'isolation') return begin(true)
    if (kind === 'begin') return begin(!/^\s*begin/i.test(statement.sql))
    if (!open) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    if (kind === 'commit') return end(`release savepoint ${savepoint}`)
    if (kind === 'rollback') return end(`rollback to savepoint ${savepoint}`)
    return connection.query(statement)
  }
  // An iterator takes a connection without a BEGIN.
  const streaming = Object.freeze({
    ...connection.connection,
    query: (config: string | MysqlQueryConfig, values?: readonly unknown[]) => {
      if (released) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
      return connection.connection.query(config, values)
    },
    end: release,
  })
  return Object.freeze({
    query,
    execute: query,
    release,
    connection: streaming,
  })
}
