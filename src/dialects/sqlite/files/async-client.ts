import { tenancyError } from '../../../errors.ts'
import { type FileSession, type Prepared, refuseMigrations, send, statementsOn } from './file-session.ts'
import { beginTransaction } from './open-transaction.ts'
import type { SqliteResult } from './connection-types.ts'

/**
 * What Drizzle takes for a client of libsql: confined to one tenant for ever. Nothing of the real client can be reached.
 * A statement that reads never waits for one that writes; statements that write are done one after the other.
 */
export function asyncClient(session: FileSession) {
  return Object.freeze({
    ...statementsOn(session, (statements) => run(session, statements)),
    async transaction(mode?: unknown): Promise<object> {
      session.guard()
      return (await beginTransaction(session, 'transaction', mode)).client
    },
    migrate: refuseMigrations,
  })
}

function run(session: FileSession, statements: readonly Prepared[]): Promise<SqliteResult[]> {
  return statements.every(isRead) ? read(session, statements) : write(session, statements)
}

function isRead({ kind }: Prepared): boolean {
  return kind === 'read'
}

async function write(session: FileSession, statements: readonly Prepared[]): Promise<SqliteResult[]> {
  if (statements.some(({ kind }) => kind === 'savepoint')) {
    throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a savepoint outside of a transaction'])
  }
  const transaction = await beginTransaction(session, 'statement')
  try {
    const results = await transaction.run(statements)
    await transaction.commit()
    return results
  } finally {
    await transaction.rollback()
  }
}

async function read(session: FileSession, statements: readonly Prepared[]): Promise<SqliteResult[]> {
  if (statements.length === 0) return []
  const lease = session.lease()
  // Hardly ever: each await is a few percent of a statement.
  const { file, release } = lease instanceof Promise ? await lease : lease
  try {
    return await send(session, statements, () => file.read(statements))
  } finally {
    release()
  }
}
