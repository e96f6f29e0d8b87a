import { ROWID_NAME } from '../statement.ts'

/**
 * The result of every statement tells the last row number that its connection inserted, whosever that was. So before another tenant writes on
 * a connection, a row is inserted into a table that only this connection has. No statement of a tenant may name it.
 */
export const FORGET_ROW_NUMBER = `replace into temp.${ROWID_NAME} values (0)`

/** Makes that table, once for each connection. */
export const PREPARE_TO_FORGET = `create temp table ${ROWID_NAME} (id integer primary key)`
