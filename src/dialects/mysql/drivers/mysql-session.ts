import { tenancyError } from '../../../errors.ts'
import type { MysqlConnection } from './mysql-types.ts'

/**
 * What isolation depends on in a session, whatever the server's configuration says. ANSI_QUOTES and NO_BACKSLASH_ESCAPES
 * would cut text otherwise than we do and let a parameter, which mysql2 writes into the text, end its string; so would a
 * multi-byte character set such as gbk. The trackers make the server tell when a statement changed its session.
 */
const SETUP = `set names utf8mb4,
  session sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',
  session autocommit = 1, session completion_type = 'NO_CHAIN',
  session session_track_schema = 1, session session_track_system_variables = '*', session session_track_state_change = 1`

/** Makes the session of a new connection one that all tenants may share: without a database, where an unqualified name is nobody's. */
export async function prepareConnection(connection: MysqlConnection): Promise<void> {
  await ask(connection, SETUP)
  const [session] = (await ask(connection, 'select database() as name')) as {
    name: string | null
  }[]
  if (session?.name !== null) {
    throw tenancyError('TENANCY_ERR_CONFIG_INVALID', [
      '- databaseUrl: the server puts each new connection into a database (init_connect). Take that setting back.',
    ])
  }
}

function ask(connection: MysqlConnection, sql: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    connection.query({ sql, values: null }, (error, rows) => (error ? reject(error) : resolve(rows)))
  })
}
