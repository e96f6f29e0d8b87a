import type { Lease } from './mssql-lease.ts'
import type { RowSource, RowStream } from './mssql-row-stream.ts'
import type { MssqlStatement } from './mssql-statement.ts'

/**
 * Sends a statement whose rows go into `stream`; settles when the connection is free. A reader who stops early ends it; in a transaction
 * the other rows come for nobody, since a statement that is cancelled costs the connection.
 */
export async function runStream(lease: Lease, statement: MssqlStatement, stream: RowStream): Promise<void> {
  if (stream.rows.destroyed) return
  const request = lease.request(statement)
  stream.source = lease.inTransaction ? uncancelled(request) : request
  try {
    await lease.stream(request, statement.text, stream.take)
  } catch (error) {
    // Its own cancellation is no failure; the connection is not used again all the same.
    if (!stream.rows.destroyed) throw error
  }
}

function uncancelled(request: RowSource): RowSource {
  const resume = () => request.resume()
  return { pause: () => request.pause(), resume, cancel: resume }
}
