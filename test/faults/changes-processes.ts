import { fork } from 'node:child_process'
import { Agent, get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished } from 'vitest'
import type { Metrics, TenancyOptions } from '../../src/index.ts'
import { as } from '../support/app.ts'

/** A process of the app. */
export interface AppProcess {
  /** Runs a verb of changes-process.ts there; rejects with the code of what it failed with. */
  readonly run: (verb: string, ref?: string, other?: string) => Promise<unknown>
  readonly metrics: () => Promise<Metrics>
  /** Asks over HTTP who the tenant is. */
  readonly who: (identifier: string) => Promise<{ readonly status: number; readonly body: string }>
  readonly kill: () => void
}

const script = fileURLToPath(new URL('changes-process.ts', import.meta.url))

/** Starts a process, which ends with the test. */
export async function startProcess(options: TenancyOptions): Promise<AppProcess> {
  const child = fork(script, {
    execArgv: ['--import', 'tsx'],
    env: { PATH: process.env['PATH'], OPTIONS: JSON.stringify(options) },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  const agent = new Agent({ keepAlive: true })
  onTestFinished(() => {
    agent.destroy()
    child.kill('SIGKILL')
  })
  const waiting = new Map<string, (answer: { result?: unknown; error?: string }) => void>()
  child.on('message', (answer: { id: string; result?: unknown; error?: string }) => waiting.get(answer.id)?.(answer))
  let trouble = ''
  child.stderr?.on('data', (chunk) => (trouble += String(chunk)))
  const died = new Promise<never>((_resolve, reject) => {
    child.once('exit', () => reject(new Error(`The process ended.\n${trouble}`)))
  })
  died.catch(() => {})
  const answerTo = (id: string): Promise<unknown> => {
    const answer = new Promise<unknown>((resolve, reject) => {
      waiting.set(id, ({ result, error }) => (error === undefined ? resolve(result) : reject(new Error(error))))
    })
    return Promise.race([answer, died])
  }
  let count = 0
  const address = (await answerTo('address')) as string
  const run = (verb: string, ref?: string, other?: string): Promise<unknown> => {
    const id = String(++count)
    const answer = answerTo(id)
    child.send({ id, verb, ref, other })
    return answer
  }
  return {
    run,
    metrics: async () => (await run('metrics')) as Metrics,
    kill: () => child.kill('SIGKILL'),
    who: (identifier) =>
      new Promise((resolve, reject) => {
        const request = get(`${address}/who`, { headers: as(identifier), agent }, (response) => {
          let body = ''
          response.on('data', (chunk) => (body += String(chunk)))
          response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
        })
        request.on('error', reject)
      }),
  }
}

/** Milliseconds until a process refuses a tenant, asked all the time; fails after 5 s. It stays refused for a while. */
export async function refusedAfter(one: AppProcess, identifier: string, since = performance.now()): Promise<number> {
  // A look-up may hang on a connection that froze: who waits is not served.
  const last: Promise<{ readonly status: number }>[] = []
  const waits = () => sleep(300, { status: 0 })
  while ((await Promise.race([(last[0] = one.who(identifier)), waits()])).status === 200) {
    if (performance.now() - since > 5000) expect.fail('Still served after 5 s.')
    await sleep(5)
  }
  const elapsed = performance.now() - since
  expect((await last[0])?.status).not.toBe(200)
  for (let n = 0; n < 20; n++) {
    expect((await one.who(identifier)).status).not.toBe(200)
    await sleep(10)
  }
  return elapsed
}

/** Fulfilled when the tenant is held in L1 of this process, and its feed has settled. */
export async function warm(one: AppProcess, identifier: string): Promise<void> {
  for (let n = 0; n < 3; n++) expect((await one.who(identifier)).status).toBe(200)
}
