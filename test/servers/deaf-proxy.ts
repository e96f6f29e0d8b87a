import { connect, createServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** Lets logins through, and while `deaf` swallows every query: a server, or a pooler, that hangs. */
export async function deafProxy(target: number, isQuery: (bytes: Buffer) => boolean) {
  const state = { deaf: true, port: 0 }
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const up = connect({ port: target, host: '127.0.0.1' })
    let swallowed = false
    for (const one of [client, up])
      sockets.add(one.on('error', () => {}).on('close', () => (client.destroy(), up.destroy())))
    client.on('data', (bytes) => {
      swallowed ||= state.deaf && isQuery(bytes)
      if (!swallowed) up.write(bytes)
    })
    up.on('data', (bytes) => client.write(bytes))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  onTestFinished(() => {
    for (const one of sockets) one.destroy()
    server.close()
  })
  state.port = (server.address() as { port: number }).port
  return state
}
