import type { PgMessages, PgModule, PgOutlet } from './pg-types.ts'

/** What {@link wireMessages} takes. */
export interface WireStatement {
  /** Empty: the unnamed statement. */
  readonly name: string
  /** Absent: it was parsed before. */
  readonly text?: string
  readonly values: readonly string[]
}

/** Parse, Bind and Execute as pg would send them, without Sync. */
export function wireMessages(pg: PgModule, { name, text, values }: WireStatement): Uint8Array {
  return recorded(pg, (outlet) => {
    if (text !== undefined) outlet.parse({ text, name })
    outlet.bind({ statement: name, values })
    outlet.execute({})
  })
}

/** Parse alone. */
export function parseMessage(pg: PgModule, name: string, text: string): Uint8Array {
  return recorded(pg, (outlet) => outlet.parse({ text, name }))
}

/**
 * All that `send` sends, in one piece: messages that are written one by one cost a statement more than what they are made of.
 * `ahead` goes first.
 */
export function recorded(
  { Connection }: PgModule,
  send: (outlet: PgMessages & PgOutlet) => void,
  ahead?: Uint8Array,
): Uint8Array {
  const chunks = ahead === undefined ? [] : [ahead]
  const outlet = Object.create(Connection.prototype) as PgMessages & { _send: PgOutlet['_send'] }
  outlet._send = (bytes) => void chunks.push(bytes)
  send(outlet)
  return Buffer.concat(chunks)
}
