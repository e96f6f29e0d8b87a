import { currentContext } from '../../../context.ts'
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
export function lazyTransaction(source: ConnectionSource, session: TenantSession): LazyTransaction {
  let opening: Promise<TenantClient> | undefined
  let finished = false
  let savepoints = 0
  /** Settles when the nested transactions before are over. */
  let turn: Promise<void> = Promise.resolve()

  const open = (): Promise<TenantClient> => {
    if (finished) return Promise.reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
    opening ??= begin(source, session)
    return opening
  }
  const query: Query = async (config, values) => {
    const statement = queryConfig(config, values)
    if (statementKind(statement.text).kind !== 'plain' && statementKind(statement.text).kind !== 'procedure') {
      throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['the transaction of a request is committed by the library'])
    }
    // A statement beside a nested transaction would be undone with it, after its caller was told that it is done.
    if (!isNested()) await turn
    return (await open()).query(statement) as Promise<PgResult>
  }
  const connect = async () => {
    const before = isNested() ? undefined : turn
    let over = () => {}
    if (before !== undefined) turn = new Promise((resolve) => (over = resolve))
    try {
      await before
      return savepointClient(await open(), `tenancy_${++savepoints}`, over)
    } catch (error) {
      over()
      throw error
    }
  }
  const finish = async (text: 'commit' | 'rollback'): Promise<void> => {
    if (finished) return
    finished = true
    if (opening === undefined) return
    const client = await opening
    try {
      await client.query(text)
    } finally {
      client.release()
    }
  }

  return Object.freeze({
    client: poolShaped(source.pg, { query, connect }),
    commit: () => finish('commit'),
    rollback: () => finish('rollback').catch(() => {}),
  })
}

/** Whether the caller is inside a nested transaction of the request, whose statements are part of it. */
function isNested(): boolean {
  return (currentContext()?.depth ?? 0) > 1
}

async function begin(source: ConnectionSource, session: TenantSession): Promise<TenantClient> {
  const client = await connectTenant(source, session)
  await client.query('begin')
  return client
}

/** The transaction's connection for one nested transaction: its BEGIN, COMMIT and ROLLBACK speak of a savepoint. */
function savepointClient(client: TenantClient, savepoint: string, over: () => void): object {
  let open = false
  let released = false
  const end = (text: string) => {
    open = false
    return client.query(text)
  }
  const query = (config: string | PgQueryConfig, values?: readonly unknown[]): unknown => {
    if (released) return Promise.reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
    const statement = queryConfig(config, values)
    const control = statementKind(statement.text)
    if (control.kind === 'begin') {
      if (control.options !== '' || open)
        return Promise.reject(tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a nested transaction takes no options']))
      open = true
      return client.query(`savepoint ${savepoint}`)
    }
    if (!open) return Promise.reject(tenancyError('TENANCY_ERR_TRANSACTION_FINISHED'))
    if (control.kind === 'commit') return end(`release savepoint ${savepoint}`)
    if (control.kind === 'rollback') return end(`rollback to savepoint ${savepoint}`)
    return client.query(statement)
  }
  const release = () => {
    if (released) return
    released = true
    if (open) void Promise.resolve(end(`rollback to savepoint ${savepoint}`)).catch(() => {})
    over()
  }
  const listen = () => undefined
  return Object.freeze({ query, release, on: listen, off: listen, once: listen, removeListener: listen })
}
