import { tenancyError } from '../../../errors.ts'
import { type LibsqlSession, type Prepared, refuseMigrations, send, statementsOn } from './libsql-session.ts'
import { beginTransaction } from './libsql-transaction.ts'
import type { LibsqlResult } from './libsql-types.ts'

/**
 * What Drizzle takes for a client of libsql: confined to one tenant for ever. Nothing of the real client can be reached.
 * A statement that reads never waits for one that writes; statements that write are done one after the other.
 */
export function tenantClient(session: LibsqlSession) {
  return Object.freeze({
    ...statementsOn(session, (statements) => run(session, statements)),
    async transaction(mode?: unknown): Promise<object> {
      session.guard()
      return (await beginTransaction(session, 'transaction', mode)).client
    },
    migrate: refuseMigrations,
  })
}

async function run(session: LibsqlSession, statements: readonly Prepared[]): Promise<LibsqlResult[]> {
  if (statements.some(({ kind }) => kind === 'savepoint')) {
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a savepoint outside of a transaction'])
  }
  if (statements.every(({ kind }) => kind === 'read')) return read(session, statements)
  const transaction = await beginTransaction(session, 'statement')
  try {
    const results = await transaction.run(statements)
    await transaction.commit()
    return results
  } finally {
    await transaction.rollback()
  }
}

async function read(session: LibsqlSession, statements: readonly Prepared[]): Promise<LibsqlResult[]> {
  if (statements.length === 0) return []
  const { file, release } = await session.lease()
  try {
    return await send(session, statements, () => file.read(statements))
  } finally {
    release()
  }
}
