import { type ChildProcess, execFile, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** How one kind of server is started and stopped. */
export interface ServerSpec {
  /** For messages: `PostgreSQL 15`. */
  readonly name: string
  readonly file: string
  readonly args: (folder: string, port: number) => readonly string[]
  /** The log line after which connections are served. */
  readonly ready: RegExp
  /** The fastest signal after which the server leaves nothing behind. */
  readonly stopSignal: NodeJS.Signals
  /** Runs once, before the first start: creates the data directory. */
  readonly install?: (folder: string) => Promise<void>
  /** Runs before every start: writes what depends on the port. */
  readonly configure?: (folder: string, port: number) => Promise<void>
}

/** A server that runs until `stop()`; the port and the data directory stay the same for its whole life. */
export interface RunningServer {
  readonly port: number
  /** The temporary folder of this server. */
  readonly folder: string
  /** The process id, undefined while the server is down. */
  readonly pid: () => number | undefined
  /** Everything the server has logged so far. */
  readonly log: () => string
  /** Ends the server and removes its folder. May be called twice. */
  readonly stop: () => Promise<void>
  /** A crash: SIGKILL for the server and its children, nobody gets a goodbye. The data directory stays. */
  readonly kill: () => Promise<void>
  /** Starts the server again on the same port and data directory, after stopping it if it runs. */
  readonly restart: () => Promise<void>
}

interface User {
  readonly uid?: number
  readonly gid?: number
}

const START_TIMEOUT_MS = 30_000
const POLL_MS = 5
const PORT_ATTEMPTS = 20
/** Below the range of outgoing connections (32768-60999 on Linux), so that none of them takes a port between the test and the start. */
const PORT_RANGE = { first: 15_000, last: 31_999 }
const ADDRESS_IN_USE = /address already in use/i
const EXIT_PATIENCE_MS = 3_000

/** What the exit handler ends: the processes and folders of this Node process, and nothing else. */
const living = new Map<ChildProcess, NodeJS.Signals>()
const folders = new Set<string>()
const takenPorts = new Set<number>()
let guarded = false

/** The account for servers that refuse to run as root: `nobody` when we are root, else the current user. */
export function serverUser(): User {
  if (process.getuid?.() !== 0) return {}
  const entry = /^nobody:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'))
  if (!entry) throw new Error('Servers are not started as root and this machine has no user `nobody`.')
  return { uid: Number(entry[1]), gid: Number(entry[2]) }
}

/** A new folder that belongs to the server user and disappears with this process. */
export function temporaryFolder(): string {
  guard()
  const root = traversable(tmpdir()) ? tmpdir() : '/tmp'
  const folder = mkdtempSync(join(root, 'tenancy-test-'))
  folders.add(folder)
  chmodSync(folder, 0o700)
  const { uid, gid } = serverUser()
  if (uid !== undefined && gid !== undefined) chownSync(folder, uid, gid)
  return folder
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  folders.delete(folder)
}

/** Whether every account may walk down to this path. */
export function traversable(path: string): boolean {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    const stats = statSync(folder)
    if (stats.isDirectory() && (stats.mode & constants.S_IXOTH) === 0) return false
    if (folder === dirname(folder)) return true
  }
}

/** A port on 127.0.0.1 on which nothing listens now. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
    const span = PORT_RANGE.last - PORT_RANGE.first + 1
    const port = PORT_RANGE.first + Math.floor(Math.random() * span)
    if (takenPorts.has(port) || !(await canListen(port))) continue
    takenPorts.add(port)
    return port
  }
  throw new Error(`No free port found on 127.0.0.1 in ${PORT_ATTEMPTS} attempts.`)
}

/** Runs a tool to its end as the server user; a failure carries what it printed. */
export async function runTool(file: string, args: readonly string[], folder: string): Promise<string> {
  return new Promise((done, fail) => {
    const options = { ...serverUser(), cwd: folder, env: environment(folder), maxBuffer: 16 * 1024 * 1024 }
    const child = execFile(file, [...args], options, (error, stdout, stderr) => {
      living.delete(child)
      if (error) fail(new Error(`${file} failed:\n${stdout}${stderr}`, { cause: error }))
      else done(stdout)
    })
    guard()
    living.set(child, 'SIGKILL')
  })
}

/** Starts a server in a new temporary folder on a free port and waits until it serves. */
export async function startServer(spec: ServerSpec): Promise<RunningServer> {
  const folder = temporaryFolder()
  try {
    await spec.install?.(folder)
    for (let attempt = 1; ; attempt++) {
      const port = await freePort()
      try {
        return runningServer(spec, folder, port, await launch(spec, folder, port))
      } catch (error) {
        if (attempt === 3 || !isAddressInUse(error)) throw error
      }
    }
  } catch (error) {
    removeFolder(folder)
    throw error
  }
}

function runningServer(spec: ServerSpec, folder: string, port: number, first: ChildProcess): RunningServer {
  let child: ChildProcess | undefined = first
  let stopped = false

  const end = async (signal: NodeJS.Signals) => {
    const ending = child
    child = undefined
    if (!ending) return
    if (signal === 'SIGKILL') await crash(ending)
    else await terminate(ending, signal)
  }

  return {
    port,
    folder,
    pid: () => (child && isRunning(child) ? child.pid : undefined),
    log: () => readLog(folder),
    stop: async () => {
      if (stopped) return
      stopped = true
      await end(spec.stopSignal)
      removeFolder(folder)
      takenPorts.delete(port)
    },
    kill: () => end('SIGKILL'),
    restart: async () => {
      if (stopped) throw new Error(`${spec.name} was stopped for good and can not be restarted.`)
      await end(spec.stopSignal)
      child = await relaunch(spec, folder, port)
    },
  }
}

/** The old sockets may hold the port for a moment. */
async function relaunch(spec: ServerSpec, folder: string, port: number): Promise<ChildProcess> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await launch(spec, folder, port)
    } catch (error) {
      if (attempt === PORT_ATTEMPTS || !isAddressInUse(error)) throw error
      await sleep(50)
    }
  }
}

async function launch(spec: ServerSpec, folder: string, port: number): Promise<ChildProcess> {
  await spec.configure?.(folder, port)
  guard()
  // A file and not a pipe: a server never waits for a reader, and it survives ours.
  const log = openSync(join(folder, 'log'), 'a')
  const logStart = readLog(folder).length
  const child = spawn(spec.file, [...spec.args(folder, port)], {
    ...serverUser(),
    cwd: folder,
    env: environment(folder),
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  living.set(child, spec.stopSignal)
  let failure: Error | undefined
  child.once('exit', () => living.delete(child))
  child.once('error', (error) => {
    living.delete(child)
    failure = error
  })
  child.unref()

  const deadline = Date.now() + START_TIMEOUT_MS
  for (;;) {
    const news = readLog(folder).slice(logStart)
    if (spec.ready.test(news)) return child
    if (failure || !isRunning(child)) throw new Error(`${spec.name} did not start:\n${news}`, { cause: failure })
    if (Date.now() > deadline) {
      await terminate(child, 'SIGKILL')
      throw new Error(`${spec.name} did not start within ${START_TIMEOUT_MS} ms:\n${news}`)
    }
    await sleep(POLL_MS)
  }
}

async function terminate(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (!isRunning(child)) return
  child.ref()
  const exited = new Promise((done) => child.once('exit', done))
  child.kill(signal)
  const impatience = setTimeout(() => child.kill('SIGKILL'), EXIT_PATIENCE_MS)
  await exited
  clearTimeout(impatience)
}

/** Kills children too: a backend of PostgreSQL that outlives its parent keeps the shared memory and blocks the restart. */
async function crash(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || !isRunning(child)) return
  child.kill('SIGSTOP')
  const orphans = childrenOf(child.pid)
  for (const pid of orphans) signalQuietly(pid, 'SIGKILL')
  await terminate(child, 'SIGKILL')
  while (orphans.some(isAlive)) await sleep(POLL_MS)
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  } catch {
    // No /proc (macOS): the children notice the death of their parent by themselves.
    return []
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}

/** False for zombies: they wait for a parent that may be busy, but hold nothing any more. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return process.platform !== 'linux'
  }
}

function signalQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended meanwhile.
  }
}

function readLog(folder: string): string {
  try {
    return readFileSync(join(folder, 'log'), 'utf8')
  } catch {
    return ''
  }
}

function isAddressInUse(error: unknown): boolean {
  return error instanceof Error && ADDRESS_IN_USE.test(error.message)
}

/** A bare environment: PGHOST, MYSQL_HOME or TZ of the developer must not change a test. */
function environment(folder: string): NodeJS.ProcessEnv {
  return { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: folder, LC_ALL: 'C', TZ: 'UTC' }
}

async function canListen(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(false))
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)))
  })
}

/** Whatever ends this process, except SIGKILL, ends the servers first. */
function guard(): void {
  if (guarded) return
  guarded = true
  process.on('exit', endEverything)
  for (const [signal, number] of [
    ['SIGHUP', 1],
    ['SIGINT', 2],
    ['SIGTERM', 15],
  ] as const) {
    process.on(signal, () => {
      endEverything()
      process.exit(128 + number)
    })
  }
  // The parent of a test worker is gone; a worker without parent has nobody to report to.
  if (process.send) process.on('disconnect', endEverything)
}

/** Synchronous, as an exit handler must be. */
function endEverything(): void {
  const ending = [...living].flatMap(([child, signal]) => (child.pid === undefined ? [] : [{ pid: child.pid, signal }]))
  living.clear()
  for (const { pid, signal } of ending) signalQuietly(pid, signal)
  const pause = new Int32Array(new SharedArrayBuffer(4))
  const deadline = Date.now() + EXIT_PATIENCE_MS
  while (ending.some(({ pid }) => isAlive(pid)) && Date.now() < deadline) Atomics.wait(pause, 0, 0, POLL_MS)
  for (const { pid } of ending) if (isAlive(pid)) signalQuietly(pid, 'SIGKILL')
  for (const folder of folders) removeFolder(folder)
}
