import { type RunningServer, startServer } from './process.ts'
import { type Program, provision } from './provision.ts'

export interface RunningRedis extends RunningServer {
  readonly url: string
}

const redis: Program = {
  name: 'Redis',
  waiver: 'redis',
  binary: 'redis-server',
  folders: ['/usr/bin', '/opt/homebrew/bin', '/usr/local/bin'],
  inPath: true,
  aptPackage: 'redis-server',
}

/** Starts a throw-away Redis that keeps everything in memory: after `kill()` or `restart()` it is empty. */
export async function startRedis(): Promise<RunningRedis> {
  const file = await provision(redis)
  const server = await startServer({
    name: 'Redis',
    file,
    args: (folder, port) => {
      const settings = { port: String(port), bind: '127.0.0.1', dir: folder, save: '', appendonly: 'no' }
      return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
    },
    ready: /Ready to accept connections/,
    stopSignal: 'SIGKILL',
  })
  return { ...server, url: `redis://127.0.0.1:${server.port}` }
}
