import { connect, createServer, type Socket } from 'node:net'

export interface ProxyOptions {
  /** The port on 127.0.0.1 behind the proxy. */
  readonly target: number
  /** Added to every round trip, on the way back. Defaults to 0. */
  readonly delayMs?: number
}

export interface Proxy {
  readonly port: number
  /** Connections open now. */
  readonly connections: number
  /** Connections accepted since the last `resetCounters()`, refused ones included. */
  readonly accepted: number
  /**
   * Network turns since the last `resetCounters()`. One turn is everything the client sends between two answers: four
   * awaited statements are four turns, four pipelined statements are one. Opening a connection is one or more turns.
   * With `delayMs: 0` an answer can overtake the tail of a pipeline; give pipelines a few milliseconds.
   */
  readonly turns: number
  readonly resetCounters: () => void
  /** Cuts all open connections; new ones are served. */
  readonly sever: () => void
  /** Lets vanish what the open connections carry, and keeps them open; new ones are served. */
  readonly freeze: () => void
  /** While true every new connection is accepted and cut at once. */
  readonly refuse: (on: boolean) => void
  readonly stop: () => Promise<void>
}

/** Starts a TCP proxy in this process that counts, delays and cuts. */
export async function startProxy({ target, delayMs = 0 }: ProxyOptions): Promise<Proxy> {
  const clients = new Set<Socket>()
  const frozen = new WeakSet<Socket>()
  let turns = 0
  let accepted = 0
  let refusing = false

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    accepted++
    if (refusing) {
      client.destroy()
      return
    }
    clients.add(client)
    client.once('close', () => clients.delete(client))
    join(
      client,
      connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true }),
      delayMs,
      () => turns++,
      () => frozen.has(client),
    )
  })
  await new Promise<void>((done, fail) => {
    server.once('error', fail)
    server.listen(0, '127.0.0.1', done)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The proxy has no port.')

  const sever = () => {
    for (const client of clients) client.destroy()
  }
  return {
    port: address.port,
    get connections() {
      return clients.size
    },
    get accepted() {
      return accepted
    },
    get turns() {
      return turns
    },
    resetCounters: () => {
      turns = 0
      accepted = 0
    },
    sever,
    freeze: () => {
      for (const client of clients) frozen.add(client)
    },
    refuse: (on) => {
      refusing = on
    },
    stop: async () => {
      const closed = new Promise((done) => server.close(done))
      sever()
      await closed
    },
  }
}

function join(client: Socket, server: Socket, delayMs: number, onTurn: () => void, isFrozen: () => boolean): void {
  let answered = true
  client.on('data', (chunk) => {
    if (answered) onTurn()
    answered = false
    if (!isFrozen()) server.write(chunk)
  })
  client.on('end', () => server.end())

  const back = (deliver: () => void) => (delayMs > 0 ? setTimeout(deliver, delayMs) : deliver())
  server.on('data', (chunk) => {
    back(() => {
      answered = true
      if (!isFrozen()) client.write(chunk)
    })
  })
  server.on('end', () => back(() => client.end()))

  // A cut on one side is a cut on the other; 'error' is always followed by 'close'.
  client.on('error', () => {})
  server.on('error', () => {})
  client.on('close', () => server.destroy())
  server.on('close', () => back(() => client.destroy()))
}
