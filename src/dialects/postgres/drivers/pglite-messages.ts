import { tenancyError } from '../../../errors.ts'

/*
 * Messages of PostgreSQL's protocol: https://www.postgresql.org/docs/current/protocol-message-formats.html
 *
 * Not by PGlite's own `serialize`: that writes all messages of the process into two buffers, and one that it could not
 * finish, for a value that is no text, stays there and begins the next message, which may be another tenant's.
 */

/** A value as it is sent: text, or bytes. */
export type WireValue = string | Uint8Array | null

const HEADER_BYTES = 5
const NULL_LENGTH = -1
const [TEXT, BINARY] = [0, 1] as const
/** The statement and the portal without a name. */
const UNNAMED = Buffer.alloc(1)

/** A text of one or several statements. @throws TENANCY_ERR_STATEMENT_REFUSED */
export function query(text: string): Buffer {
  return message('Q', [cString(text)])
}

/** Reads a statement. @param types OIDs of parameters, where they are not left to the server @throws TENANCY_ERR_STATEMENT_REFUSED */
export function parse(text: string, types: readonly number[] = []): Buffer {
  return message('P', [UNNAMED, cString(text), int16(types.length), ...types.map((type) => int32(type))])
}

/** Asks for the types of the parameters and columns of what was read. */
export const DESCRIBE = message('D', [Buffer.from('S\0')])

/** Gives the parameters; all columns come as text. @throws RangeError for more than the protocol can count, 65,535 */
export function bind(values: readonly WireValue[]): Buffer {
  const formats = values.map((value) => int16(typeof value === 'string' || value === null ? TEXT : BINARY))
  const parts = values.flatMap((value) => {
    if (value === null) return [int32(NULL_LENGTH)]
    const bytes = typeof value === 'string' ? Buffer.from(value) : value
    return [int32(bytes.byteLength), bytes]
  })
  return message('B', [UNNAMED, UNNAMED, int16(values.length), ...formats, int16(values.length), ...parts, int16(0)])
}

/** Runs what was bound, to its end. */
export const EXECUTE = message('E', [UNNAMED, int32(0)])

/** Ends an implicit transaction, and what is skipped after an error. */
export const SYNC = message('S', [])

/** The first letter, the length of all but that, and the parts. */
function message(type: string, parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(HEADER_BYTES)
  head.write(type, 'latin1')
  head.writeInt32BE(body.byteLength + HEADER_BYTES - 1, 1)
  return Buffer.concat([head, body])
}

/** It ends at the first NUL, wherever its writer meant it to. */
function cString(text: string): Buffer {
  if (text.includes('\0')) throw tenancyError('TENANCY_ERR_STATEMENT_REFUSED', ['a NUL in its text'])
  return Buffer.from(`${text}\0`)
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
