import { connect, type Socket } from 'node:net'

/** A request and the only answer to it that counts. */
export interface Exchange {
  readonly request: Buffer
  /** The body of the one right answer. */
  readonly body: string
}

/** Keep-alive connections to one server. */
export interface HttpLoad {
  /** Makes this many exchanges, one at a time on every connection. @throws when an answer is wrong */
  run(exchanges: number): Promise<void>
  close(): void
}

const OK = 'HTTP/1.1 200 '
const HEAD_END = '\r\n\r\n'

/** Composes a GET request of one tenant. */
export function getRequest(path: string, tenant: string): Buffer {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: ${tenant}${HEAD_END}`)
}

/**
 * Opens `connections` to a server. It does next to nothing per answer but check it, so that the server and not the load
 * is what is measured. `next` gives the exchanges in order. It never sleeps while it runs: to wake it is work of the server
 * that writes to it, 1.4 of 20 µs more for a server that it waits for more often, which is not what that server does.
 */
export async function openLoad(port: number, connections: number, next: () => Exchange): Promise<HttpLoad> {
  const sockets = await Promise.all(Array.from({ length: connections }, () => opened(port)))
  const run = async (exchanges: number) => {
    let left = exchanges
    let awake = setImmediate(stayAwake)
    function stayAwake() {
      awake = setImmediate(stayAwake)
    }
    try {
      await Promise.all(sockets.map((socket) => converse(socket, () => (left-- > 0 ? next() : undefined))))
    } finally {
      clearImmediate(awake)
    }
  }
  return { run, close: () => sockets.forEach((socket) => socket.destroy()) }
}

/** Exchanges on one connection until there are no more. */
function converse(socket: Socket, next: () => Exchange | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    let expected: Exchange | undefined
    let answer = ''
    const end = (error?: Error) => {
      socket.off('data', onData).off('close', onClose)
      if (error) reject(error)
      else resolve()
    }
    const proceed = () => {
      expected = next()
      if (expected === undefined) end()
      else socket.write(expected.request)
    }
    const onData = (chunk: Buffer) => {
      answer += chunk.toString('latin1')
      if (!isComplete(answer)) return
      if (!answer.startsWith(OK) || !answer.endsWith(`${HEAD_END}${expected?.body}`)) {
        end(new Error(`Expected 200 ${expected?.body}, got ${answer}`))
        return
      }
      answer = ''
      proceed()
    }
    const onClose = () => end(new Error(`The server closed a connection. Expected ${expected?.body}, got ${answer}`))
    socket.on('data', onData).on('close', onClose)
    proceed()
  })
}

function isComplete(answer: string): boolean {
  const head = answer.indexOf(HEAD_END)
  if (head < 0) return false
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(answer)?.[1]
  return length === undefined || answer.length >= head + HEAD_END.length + Number(length)
}

function opened(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true }, () => resolve(socket))
    socket.once('error', reject)
  })
}
