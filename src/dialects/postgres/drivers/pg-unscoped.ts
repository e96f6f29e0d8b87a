import type { AdminConnection } from '../../../contracts/dialect.ts'
import { tenancyError } from '../../../errors.ts'
import { inTime } from '../../../util/in-time.ts'
import { statementFailure } from '../failure.ts'
import type { ConnectionSource } from './pg-pool.ts'
import type { PgClient, PgResult } from './pg-types.ts'

type Query = AdminConnection['query']

/** Statements without a scope, each on a connection of its own, which is cut with one that has no answer within `patienceMs`. */
export function queryOn(source: ConnectionSource, patienceMs?: number): Query {
  return async <TRow>(text: string, parameters?: readonly unknown[]) => {
    const client = await connect(source)
    let failure: Error | undefined
    client.on('error', onError)
    try {
      const answer = statementsOn(client)<TRow>(text, parameters)
      return await (patienceMs === undefined ? answer : inTime(answer, patienceMs, silent))
    } catch (error) {
      failure = error instanceof Error && 'statusCode' in error ? error : undefined
      throw error
    } finally {
      client.removeListener('error', onError)
      client.release(failure)
    }
  }
}

/** Runs `work` in one transaction. */
export function inTransaction<T>(source: ConnectionSource, work: (query: Query) => Promise<T>): Promise<T> {
  return onConnection(source, async (query) => {
    await query('begin')
    try {
      const result = await work(query)
      await query('commit')
      return result
    } catch (error) {
      await query('rollback').catch(() => {})
      throw error
    }
  })
}

/**
 * Whether two connections of ours can be in one session of the server: then a pooler is between us that hands sessions on
 * after each transaction. It gives the session that was used last, or this does not notice.
 */
export function sharesSessions(source: ConnectionSource): Promise<boolean> {
  const session = async (query: Query) => (await query<{ pid: number }>('select pg_backend_pid() as pid'))[0]?.pid
  return onConnection(source, async (one) => {
    const first = await session(one)
    return onConnection(source, async (other) => (await session(other)) === first)
  })
}

async function onConnection<T>(source: ConnectionSource, work: (query: Query) => Promise<T>): Promise<T> {
  const client = await connect(source)
  client.on('error', onError)
  try {
    return await work(statementsOn(client))
  } finally {
    client.removeListener('error', onError)
    client.release(client.getTransactionStatus() !== 'I')
  }
}

/**
 * Runs `work` on one connection outside of any transaction, under an advisory lock of this name: everybody else who wants
 * it waits. A connection that breaks gives the lock back.
 */
export async function underLock<T>(
  source: ConnectionSource,
  lock: string,
  work: (query: Query) => Promise<T>,
): Promise<T> {
  const client = await connect(source)
  client.on('error', onError)
  let unlocked = false
  try {
    const query = statementsOn(client)
    await query('select pg_advisory_lock(hashtextextended($1, 0))', [lock])
    try {
      return await work(query)
    } finally {
      unlocked = await query('select pg_advisory_unlock_all()').then(
        () => true,
        () => false,
      )
    }
  } finally {
    client.removeListener('error', onError)
    client.release(!unlocked)
  }
}

function statementsOn(client: PgClient): Query {
  return async <TRow>(text: string, parameters: readonly unknown[] = []) => {
    try {
      // Without parameters the simple protocol, which takes a migration of several statements.
      const result: PgResult | PgResult[] =
        parameters.length > 0 ? await client.query(text, parameters) : await client.query(text)
      return (Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows) as TRow[]
    } catch (error) {
      throw statementFailure(error)
    }
  }
}

function connect(source: ConnectionSource): Promise<PgClient> {
  return new Promise((resolve, reject) => {
    source.checkout((failure, client) => (client === undefined ? reject(failure) : resolve(client)))
  })
}

const silent = () => tenancyError('TENANCY_ERR_DATABASE_UNAVAILABLE')

// The statement under way fails with the same error; this only keeps the process alive.
function onError(): void {}
