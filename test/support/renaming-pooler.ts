import { connect, createServer, type Socket } from 'node:net'

/**
 * What a pooler does that knows prepared statements, as PgBouncer does since 1.21: on its way to the server every one of them gets
 * the next name of a row that anybody can guess.
 */
export async function startRenamingPooler(target: number): Promise<{ port: number; stop(): Promise<void> }> {
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: target, host: '127.0.0.1', noDelay: true })
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => {}))
    const rename = renamer()
    let rest = Buffer.alloc(0)
    let started = false
    client.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk])
      for (;;) {
        // The first message has no type.
        const head = started ? 1 : 0
        if (rest.length < head + 4) return
        const length = head + rest.readUInt32BE(head)
        if (rest.length < length) return
        const message = rest.subarray(0, length)
        upstream.write(started ? rename(message) : message)
        rest = rest.subarray(length)
        started = true
      }
    })
    upstream.pipe(client)
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('no port')
  return {
    port: address.port,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Writes other names into Parse and Bind; the unnamed statement stays so. */
function renamer(): (message: Buffer) => Buffer {
  const names = new Map<string, string>()
  const nameOf = (given: string) => {
    if (given === '') return ''
    const known = names.get(given) ?? `POOLER_${names.size + 1}`
    names.set(given, known)
    return known
  }
  return (message) => {
    const type = String.fromCharCode(message[0] ?? 0)
    if (type !== 'P' && type !== 'B') return message
    // Of Bind the portal comes first.
    const start = type === 'B' ? message.indexOf(0, 5) + 1 : 5
    const end = message.indexOf(0, start)
    const body = Buffer.concat([
      message.subarray(5, start),
      Buffer.from(nameOf(message.toString('utf8', start, end))),
      message.subarray(end),
    ])
    const head = Buffer.alloc(5, type)
    head.writeUInt32BE(body.length + 4, 1)
    return Buffer.concat([head, body])
  }
}
