import type { Readable } from 'node:stream'
import { tenancyError } from '../../../errors.ts'
import { RowStream, type StreamOptions } from './mssql-row-stream.ts'
import { assertName, type MssqlStatement, type Parameter } from './mssql-statement.ts'
import type { MssqlResult } from './mssql-types.ts'

/** How the requests of a client reach the database. Both are told the text first and the connection later. */
export interface RequestTarget {
  query(statement: MssqlStatement): Promise<MssqlResult>
  /** Fills `stream` and ends it; never rejects. */
  stream(statement: MssqlStatement, stream: RowStream): Promise<void>
}

/** What Drizzle and mssql's users know of a request. */
export interface TenantRequest {
  /** Rows as arrays. */
  arrayRowMode: boolean
  /** Set by Drizzle with {@link toReadableStream}; without it there are no rows one by one. */
  stream: boolean
  /** @throws TENANCY_ERR_STATEMENT_REFUSED for a name that is none */
  input(
    name: string,
    ...typeAndValue: readonly [value: unknown] | readonly [type: unknown, value: unknown]
  ): TenantRequest
  query(text: string): Promise<MssqlResult>
  /** The rows of the query that follows. */
  toReadableStream(options?: StreamOptions): Readable
  cancel(): void
}

const NOTHING: MssqlResult = Object.freeze({ recordset: undefined, recordsets: [], rowsAffected: [], output: {} })

/** A request that goes to `target`. It is used once; stored procedures, bulk loads and batches of mssql are not there. */
export function createRequest(target: RequestTarget): TenantRequest {
  const parameters: Parameter[] = []
  let rows: RowStream | undefined

  const request: TenantRequest = {
    arrayRowMode: false,
    stream: false,
    input(name, ...typeAndValue) {
      assertName(name)
      if (typeAndValue.length === 1) parameters.push({ name, value: typeAndValue[0] })
      else parameters.push({ name, type: typeAndValue[0], value: typeAndValue[1] })
      return request
    },
    async query(text) {
      if (typeof text !== 'string') throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a query without text'])
      const statement = { text, parameters, arrays: request.arrayRowMode }
      if (rows === undefined) return target.query(statement)
      // Nobody awaits this: failures come with the rows.
      await target.stream(statement, rows)
      return NOTHING
    },
    toReadableStream(options) {
      rows ??= new RowStream(options)
      return rows.rows
    },
    cancel() {
      rows?.rows.destroy()
    },
  }
  return Object.seal(request)
}
