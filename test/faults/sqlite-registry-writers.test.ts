import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'

const program = fileURLToPath(new URL('registry-writing-process.ts', import.meta.url))

it('two processes that write one registry of SQLite at once do not shut it for each other', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tenancy-registry-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const writer = () =>
    new Promise<string>((resolve) => {
      const args = ['--import', 'tsx', program, `file:${join(folder, 'app.db')}`, '10000']
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      onTestFinished(() => void child.kill('SIGKILL'))
      let written = ''
      child.stdout.on('data', (chunk: Buffer) => (written += chunk.toString()))
      child.on('close', () => resolve(written.trim()))
    })
  expect(await Promise.all([writer(), writer()])).toEqual(['0 0', '0 0'])
}, 120_000)
