import type { PgModule } from './pg-types.ts'

/** What {@link wireMessages} takes. */
export interface WireStatement {
  /** Empty: the unnamed statement. */
  readonly name: string
  /** Absent: it was parsed before. */
  readonly text?: string
  readonly values: readonly string[]
}

/** Parse, Bind and Execute as pg would send them, without Sync. */
export function wireMessages({ Connection }: PgModule, { name, text, values }: WireStatement): Uint8Array {
  const chunks: Uint8Array[] = []
  const recorder = { _send: (bytes: Uint8Array) => void chunks.push(Uint8Array.from(bytes)) }
  if (text !== undefined) Connection.prototype.parse.call(recorder, { text, name })
  Connection.prototype.bind.call(recorder, { statement: name, values })
  Connection.prototype.execute.call(recorder, {})
  return Buffer.concat(chunks)
}
