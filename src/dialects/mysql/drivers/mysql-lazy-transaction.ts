import { currentContext } from '../../../context.ts'
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
export function lazyTransaction(pool: Pool, session: TenantSession): LazyTransaction {
  let opening: Promise<TenantConnection> | undefined
  let finished = false
  let savepoints = 0
  /** Settles when the nested transactions before are over. */
  let turn: Promise<void> = Promise.resolve()

  const open = (): Promise<TenantConnection> => {
    if (finished) return Promise.reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
    opening ??= begin(pool, session)
    return opening
  }
  const query: Query = async (config, values) => {
    const statement = statementOf(config, values)
    const { kind } = statementKind(statement.sql)
    if (kind !== 'plain' && kind !== 'procedure' && kind !== 'refused') {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the transaction of a request is committed by the library'])
    }
    // A statement beside a nested transaction would be undone with it, after its caller was told that it is done.
    if (!isNested()) await turn
    return (await open()).query(statement)
  }
  const getConnection = async () => {
    const before = isNested() ? undefined : turn
    let over = () => {}
    if (before !== undefined) turn = new Promise((resolve) => (over = resolve))
    try {
      await before
      return savepointConnection(await open(), `tenancy_${++savepoints}`, over)
    } catch (error) {
      over()
      throw error
    }
  }
  const finish = async (text: 'commit' | 'rollback'): Promise<void> => {
    if (finished) return
    finished = true
    if (opening === undefined) return
    const connection = await opening
    try {
      await connection.query(text)
    } finally {
      connection.release()
    }
  }

  return Object.freeze({
    client: poolShaped({ query, getConnection }),
    commit: () => finish('commit'),
    rollback: () => finish('rollback').catch(() => {}),
  })
}

/** Whether the caller is inside a nested transaction of the request, whose statements are part of it. */
function isNested(): boolean {
  return (currentContext()?.depth ?? 0) > 1
}

async function begin(pool: Pool, session: TenantSession): Promise<TenantConnection> {
  const connection = await connectTenant(pool, session)
  await connection.query('begin')
  return connection
}

/** The transaction's connection for one nested transaction: its BEGIN, COMMIT and ROLLBACK speak of a savepoint. */
function savepointConnection(connection: TenantConnection, savepoint: string, over: () => void): object {
  let open = false
  let released = false
  const end = (text: string) => {
    open = false
    return connection.query(text)
  }
  const query: Query = async (config, values) => {
    if (released) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    const statement = statementOf(config, values)
    const { kind } = statementKind(statement.sql)
    if (kind === 'isolation' || (kind === 'begin' && (open || !/^\s*begin/i.test(statement.sql)))) {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a nested transaction takes no options'])
    }
    if (kind === 'begin') {
      open = true
      return connection.query(`savepoint ${savepoint}`)
    }
    if (!open) throw tenancyError('TENANCY_ERR_TRANSACTION_FINISHED')
    if (kind === 'commit') return end(`release savepoint ${savepoint}`)
    if (kind === 'rollback') return end(`rollback to savepoint ${savepoint}`)
    return connection.query(statement)
  }
  const release = () => {
    if (released) return
    released = true
    if (open) void end(`rollback to savepoint ${savepoint}`).catch(() => {})
    over()
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
