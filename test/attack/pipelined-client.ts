import { connect } from 'node:net'

/** A request as it goes over the wire. */
export interface Request {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly tenant: string
}

/** What came back. */
export interface Response {
  readonly status: number
  readonly body: string
}

/**
 * Sends all requests at once on one keep-alive connection and gives the responses in their order. With `hangUpAfterMs` the
 * caller goes away in the middle; what had arrived by then is given.
 */
export function pipelined(port: number, requests: readonly Request[], hangUpAfterMs?: number): Promise<Response[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const responses: Response[] = []
    let received: Buffer = Buffer.alloc(0)
    socket.on('connect', () => {
      socket.write(requests.map(wire).join(''))
      if (hangUpAfterMs !== undefined) setTimeout(() => socket.destroy(), hangUpAfterMs)
    })
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      for (let next = cut(received); next !== undefined; next = cut(received)) {
        responses.push(next.response)
        received = next.rest
      }
      if (responses.length === requests.length) socket.destroy()
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(responses))
  })
}

function wire({ method, path, tenant }: Request): string {
  return `${method} ${path} HTTP/1.1\r\nhost: attack\r\nx-tenant-id: ${tenant}\r\ncontent-length: 0\r\n\r\n`
}

/** The first whole response; all of ours have a length. */
function cut(received: Buffer): { response: Response; rest: Buffer } | undefined {
  const end = received.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const head = received.subarray(0, end).toString('latin1')
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0)
  const start = end + 4
  if (received.length < start + length) return undefined
  const response = { status: Number(head.slice(9, 12)), body: received.subarray(start, start + length).toString() }
  return { response, rest: received.subarray(start + length) }
}
