import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** A module of this folder that runs in a process of its own, so that its CPU time is not the benchmark's. */
export interface Child {
  /** Where it listens. */
  readonly ports: readonly number[]
  /** Microseconds of CPU it has used so far. */
  cpu(): Promise<number>
  stop(): Promise<void>
}

/** What a child is sent. */
type Request = { readonly start: unknown } | { readonly cpu: true }

/** What it answers, once per request. */
type Answer = { readonly ports: readonly number[] } | { readonly cpu: number } | { readonly failure: string }

/** Starts `file` and hands it `options`. It must call {@link serve}. */
export async function startChild(file: string, options: unknown): Promise<Child> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)))
  try {
    const answer = await ask(child, { start: options })
    if (!('ports' in answer)) throw new Error(`${file} did not start: ${'failure' in answer ? answer.failure : ''}`)
    return {
      ports: answer.ports,
      async cpu() {
        const used = await ask(child, { cpu: true })
        return 'cpu' in used ? used.cpu : Number.NaN
      },
      stop: () => ended(child),
    }
  } catch (error) {
    await ended(child)
    throw error
  }
}

/** The child's side: calls `start` with the options and tells the parent the ports. It ends with its parent. */
export function serve(start: (options: unknown) => Promise<readonly number[]>): void {
  const answer = (message: Answer) => process.send?.(message)
  process.on('message', (request: Request) => {
    if ('cpu' in request) {
      const { user, system } = process.cpuUsage()
      answer({ cpu: user + system })
      return
    }
    start(request.start).then(
      (ports) => answer({ ports }),
      (error: unknown) => answer({ failure: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    )
  })
  process.on('disconnect', () => process.exit())
}

function ask(child: ChildProcess, request: Request): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`A child process ended with status ${code}.`))
    child.once('exit', onExit)
    child.once('message', (answer: Answer) => {
      child.off('exit', onExit)
      resolve(answer)
    })
    child.send(request)
  })
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}
