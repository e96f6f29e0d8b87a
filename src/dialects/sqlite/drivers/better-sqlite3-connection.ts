import type {
  OpenConnection,
  SqliteConnection,
  SqliteResult,
  SqliteStatement,
  SqliteTransaction,
} from '../files/connection-types.ts'
import type { BetterDatabase, BetterDatabaseClass } from './better-sqlite3-types.ts'

/**
 * Connections of better-sqlite3 for all that is not a tenant's request: the registry, migrations, verification. They wait as
 * those of libsql do, outside of any call.
 */
export function betterConnections(Database: BetterDatabaseClass): OpenConnection {
  return (path) => asyncConnection(new Database(path, { fileMustExist: true, timeout: 0 }))
}

/** Nothing is awaited inside: what else happens in the process, happens between two calls. */
function asyncConnection(database: BetterDatabase): SqliteConnection {
  // As libsql has it. The driver's own default may lose what was committed last when the machine goes down.
  database.exec('pragma synchronous = full')
  return Object.freeze({
    execute: async (statement: SqliteStatement | string) => execute(database, statement),
    async batch(statements: readonly SqliteStatement[]) {
      database.exec('begin')
      try {
        const results = statements.map((statement) => execute(database, statement))
        database.exec('commit')
        return results
      } finally {
        if (database.inTransaction) database.exec('rollback')
      }
    },
    async transaction() {
      database.exec('begin')
      return transactionOn(database)
    },
    close: () => void database.close(),
  } satisfies SqliteConnection)
}

function transactionOn(database: BetterDatabase): SqliteTransaction {
  return Object.freeze({
    execute: async (statement: SqliteStatement) => execute(database, statement),
    executeMultiple: async (text: string) => void database.exec(text),
    commit: async () => void database.exec('commit'),
    close() {
      if (database.inTransaction) database.exec('rollback')
    },
    get closed() {
      return !database.inTransaction
    },
  } satisfies SqliteTransaction)
}

function execute(database: BetterDatabase, given: SqliteStatement | string): SqliteResult {
  const { sql, args = [] }: SqliteStatement = typeof given === 'string' ? { sql: given } : given
  const statement = database.prepare(sql)
  const parameters = args as readonly unknown[]
  if (statement.reader) return { rows: statement.all(...parameters) as object[], rowsAffected: 0 }
  return { rows: [], rowsAffected: statement.run(...parameters).changes }
}
