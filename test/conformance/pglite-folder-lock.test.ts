import { fork } from 'node:child_process'
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { lockFolder } from '../../src/dialects/postgres/drivers/pglite-folder-lock.ts'
import { codeOf } from '../support/errors.ts'

const taker = fileURLToPath(new URL('../fixtures/take-folder.ts', import.meta.url))
/** No process has this number: it is more than Linux gives. */
const NOBODY = '999999999 1'

describe('the lock of an embedded database', () => {
  let parent = ''
  let folder = ''
  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), 'tenancy-lock-'))
    folder = join(parent, 'data')
    const made = parent
    onTestFinished(() => rm(made, { recursive: true, force: true }))
  })

  it('is one process’s, of which there are none or one, and leaves nothing', async () => {
    const unlock = lockFolder(folder)
    expect(await codeOf(() => lockFolder(folder))).toBe('TENANCY_ERR_CONFIG_INVALID')
    unlock()
    const again = lockFolder(folder)
    unlock()
    expect(await codeOf(() => lockFolder(folder)), 'given back twice').toBe('TENANCY_ERR_CONFIG_INVALID')
    again()
    expect(await readdir(parent)).toEqual([])
  })

  it.each([NOBODY, '999999999', `${process.pid} 1`, `${process.pid}`, ''])(
    'of a process that is gone is taken over: %j',
    async (left) => {
      await writeFile(`${folder}.lock`, left)
      await utimes(`${folder}.lock`, 1, 1)
      lockFolder(folder)()
      expect(await readdir(parent)).toEqual([])
    },
  )

  it('that is being written at this moment is somebody’s', async () => {
    await writeFile(`${folder}.lock`, '')
    expect(await codeOf(() => lockFolder(folder))).toBe('TENANCY_ERR_CONFIG_INVALID')
  })

  it('binds the other threads of this process too', async () => {
    lockFolder(folder)
    const thread = new Worker(
      `import('tsx/esm/api').then(({ register }) => (register(), import(${JSON.stringify(taker)})))`,
      {
        workerData: folder,
        eval: true,
      },
    )
    expect(await takenBy(thread)).toBe('TENANCY_ERR_CONFIG_INVALID')
    await thread.terminate()
  })

  it('of a process that is gone is one’s of four that want it at once, thirty times', async () => {
    const children = Array.from({ length: 4 }, () => fork(taker, { execArgv: ['--import', 'tsx'] }))
    onTestFinished(() => children.forEach((child) => child.kill()))
    await Promise.all(children.map((child) => new Promise((ready) => child.once('message', ready))))
    for (let i = 0; i < 30; i++) {
      const each = `${folder}${i}`
      await writeFile(`${each}.lock`, NOBODY)
      const at = Date.now() + 20
      const outcomes = await Promise.all(
        children.map((child) => {
          const taken = takenBy(child)
          child.send({ folder: each, at })
          return taken
        }),
      )
      const refused = outcomes.filter((outcome) => outcome === 'TENANCY_ERR_CONFIG_INVALID')
      expect([refused.length, outcomes.includes('taken')], each).toEqual([3, true])
    }
  })

  it('that cannot be written is told with a code', async () => {
    await writeFile(join(parent, 'file'), '')
    expect(await codeOf(() => lockFolder(join(parent, 'file', 'data')))).toBe('TENANCY_ERR_DATABASE_UNAVAILABLE')
  })
})

function takenBy(other: { once(event: 'message', listener: (outcome: unknown) => void): unknown }): Promise<unknown> {
  return new Promise((resolve) => other.once('message', resolve))
}
