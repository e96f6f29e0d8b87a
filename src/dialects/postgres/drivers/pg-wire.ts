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
  return recorded((recorder) => {
    if (text !== undefined) Connection.prototype.parse.call(recorder, { text, name })
    Connection.prototype.bind.call(recorder, { statement: name, values })
    Connection.prototype.execute.call(recorder, {})
  })
}

/** Parse alone. */
export function parseMessage({ Connection }: PgModule, name: string, text: string): Uint8Array {
  return recorded((recorder) => Connection.prototype.parse.call(recorder, { text, name }))
}

function recorded(send: (recorder: { _send(bytes: Uint8Array): void }) => void): Uint8Array {
  const chunks: Uint8Array[] = []
  send({ _send: (bytes) => void chunks.push(Uint8Array.from(bytes)) })
  return Buffer.concat(chunks)
}
