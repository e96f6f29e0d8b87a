import { spawn } from 'node:child_process'
import { request } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const tsx = join(root, 'node_modules/tsx/dist/cli.mjs')
// Nothing of the developer's own settings.
const env = { PATH: process.env['PATH'], HOME: process.env['HOME'] }

/** Starts a command; `output` grows, `ended` has the exit code. */
function start(file: string, ...args: readonly string[]) {
  const child = spawn(file, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const running = {
    child,
    output: '',
    errors: '',
    ended: new Promise<number | null>((resolve) => child.once('close', resolve)),
  }
  child.stdout.on('data', (chunk: Buffer) => (running.output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (running.errors += chunk.toString()))
  onTestFinished(() => void child.kill('SIGKILL'))
  return running
}

test('npm run demo: every way to ask, and who sees what', async () => {
  const demo = start('npm', 'run', 'demo', '--silent')
  expect({ code: await demo.ended, errors: demo.errors.replace(/^npm warn .*\n/gm, '') }).toEqual({
    code: 0,
    errors: '',
  })

  const lines = demo.output.split('\n').map((line) => line.split('|').map((cell) => cell.trim()))
  const acme = ['acme', '200', '2 anvil, 1 rocket']
  const globex = ['globex', '200', '7 doomsday device']
  const unknown = ['-', '400', 'TENANCY_ERR_TENANT_UNKNOWN']
  expect(lines.filter((cells) => cells.length === 4).slice(2)).toEqual([
    [expect.stringMatching(/^header .*acme$/), ...acme],
    [expect.stringMatching(/^header .*globex$/), ...globex],
    [expect.stringMatching(/^host .*acme\.example\.test$/), ...acme],
    [expect.stringMatching(/^host .*globex\.example\.test$/), ...globex],
    [expect.stringMatching(/^path .*\/tenants\/acme\/orders$/), ...acme],
    [expect.stringMatching(/^path .*\/tenants\/globex\/orders$/), ...globex],
    [expect.stringMatching(/^raw SQL .*\/tenants\/globex\/report$/), ...globex],
    [expect.stringMatching(/^header .*nobody$/), ...unknown],
    [expect.stringMatching(/^nothing .*\/orders$/), ...unknown],
    [expect.stringMatching(/^header .*initech$/), '-', '403', 'TENANCY_ERR_TENANT_SUSPENDED'],
    [expect.stringMatching(/^nothing .*\/health$/), '-', '200', 'ok'],
  ])
  expect(demo.output).toContain('11 answers, each as it must be.')
})

test('--serve answers on the port until SIGTERM, and prints lines that work', async () => {
  const port = await freePort()
  const demo = start(process.execPath, tsx, 'docs/demo/main.ts', '--serve', '--port', String(port))
  await expect.poll(() => demo.output, { timeout: 20_000 }).toContain('Stop with Ctrl-C.')

  expect(demo.output).toContain(`curl http://127.0.0.1:${port}/tenants/acme/orders`)
  expect(await get(port, '/tenants/acme/orders')).toMatchObject({
    status: 200,
    body: expect.stringMatching(/anvil.*rocket/) as string,
  })
  expect(await get(port, '/orders', { host: 'globex.example.test' })).toMatchObject({
    status: 200,
    body: expect.stringContaining('doomsday') as string,
  })
  expect(await get(port, '/orders', { 'x-tenant-id': 'initech' })).toMatchObject({ status: 403 })

  demo.child.kill('SIGTERM')
  expect(await demo.ended).toBe(0)
  await expect(get(port, '/health')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
})

test('a port that is taken is an error, not a demo of something else', async () => {
  const taken = createServer()
  const port = await listening(taken)
  onTestFinished(() => void taken.close())
  const demo = start(process.execPath, tsx, 'docs/demo/main.ts', '--serve', '--port', String(port))
  expect(await demo.ended).not.toBe(0)
  expect(demo.errors).toContain(`Port ${port} is in use; choose another with --port.`)
})

async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listening(server)
  await new Promise((done) => server.close(done))
  return port
}

function listening(server: ReturnType<typeof createServer>): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}

function get(port: number, path: string, headers: Record<string, string> = {}) {
  return new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, headers }, (response) => {
      let body = ''
      response.on('data', (chunk: Buffer) => (body += chunk.toString()))
      response.on('end', () => resolve({ status: response.statusCode, body }))
    })
    sent.on('error', reject)
    sent.end()
  })
}
