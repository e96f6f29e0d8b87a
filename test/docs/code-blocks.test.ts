import { execFile, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { rolesScript } from '../../src/dialects/postgres/roles-script.ts'
import { createTestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser } from '../support/database.ts'
import { blocksOf, type CodeBlock, codeBlocks, pages, root, userProject } from './code-blocks.ts'

const blocks = codeBlocks()
const filesOf = (some: readonly CodeBlock[]) => Object.fromEntries(some.map(({ file, text }) => [file, text]))
const tsc = join(root, 'node_modules/typescript/bin/tsc')

/** What the compiler says about these files in a user's project; nothing when all is well. */
function compile(files: Readonly<Record<string, string>>, drizzle: CodeBlock['drizzle'] = '0.45'): Promise<string> {
  const project = userProject(files, drizzle)
  onTestFinished(project.remove)
  return new Promise((done) => {
    execFile(process.execPath, [tsc, '-p', project.folder], (error, stdout) => done(error === null ? '' : stdout))
  })
}

test('there are blocks, each with a name of its own', () => {
  const names = blocks.map(({ file }) => file)
  expect(names).toEqual(expect.arrayContaining(['server.ts', 'schema.ts']))
  expect(new Set(names).size).toBe(names.length)
})

test('[W67] every block for drizzle-orm 0.45 type-checks', async () => {
  expect(await compile(filesOf(blocks.filter(({ drizzle }) => drizzle === '0.45')))).toBe('')
})

test('[W67] every block for drizzle-orm 1.0 type-checks', async () => {
  const recent = blocks.filter(({ drizzle, file }) => drizzle === '1.0' || file === 'schema.ts')
  expect(recent.length).toBeGreaterThan(1)
  expect(await compile(filesOf(recent), '1.0')).toBe('')
})

test('a block that is wrong is found', async () => {
  const wrong = ['```ts', `await app.register(tenancy, { tennantHeaderName: 'x' })`, '```']
  const said = await compile(filesOf(blocksOf('a.md', `# A\n\n${wrong.join('\n')}\n`)))
  expect(said).toMatch(/a-line-4\.ts.+tennantHeaderName/s)
})

test('the demo type-checks', async () => {
  const said = await new Promise((done) => {
    execFile(process.execPath, [tsc, '-p', join(root, 'docs/demo')], (error, stdout) => done(error ? stdout : ''))
  })
  expect(said).toBe('')
})

test('every link between the pages leads somewhere', () => {
  const broken = pages.flatMap((page) => {
    const links = readFileSync(join(root, page), 'utf8').matchAll(/\]\((?!https?:)([^)#\s]+)/g)
    return Array.from(links, ([, link = '']) => link).filter((link) => !existsSync(join(root, dirname(page), link)))
  })
  expect(broken).toEqual([])
})

test('every command of npm that a page names exists', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }
  const named = pages.flatMap((page) =>
    Array.from(readFileSync(join(root, page), 'utf8').matchAll(/\bnpm run ([\w:]+)/g), ([, name = '']) => name),
  )
  expect(named).toContain('demo')
  expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([])
})

describeWith(['postgres18'], 'the example of the README', ({ postgres18 }) => {
  test('[W67] runs as it is printed, on a database with the roles of the script', async () => {
    const database = await createTestDatabase(postgres18.url)
    onTestFinished(() => database.drop())
    const { appRole: servingRole, ownerRole: adminRole } = database
    const script = rolesScript({ database: database.database, servingRole, adminRole })
    await asSuperuser(database, (client) => client.query(script))

    const files = filesOf(blocks)
    const { origin, stop } = await runExample({
      'schema.ts': files['schema.ts'] ?? '',
      'server.ts': replaced(files['server.ts'] ?? '', [
        [`'postgres://app@localhost/saas'`, JSON.stringify(database.appUrl)],
        [`'postgres://owner@localhost/saas'`, JSON.stringify(database.adminUrl)],
        [`'./drizzle'`, JSON.stringify(join(root, 'docs/demo/drizzle'))],
        [`await app.listen({ port: 3000 })`, `console.log(await app.listen({ port: 0, host: '127.0.0.1' }))`],
      ]),
    })
    onTestFinished(stop)

    const get = async (path: string, headers: Record<string, string> = {}) => {
      const response = await fetch(origin + path, { headers })
      return [response.status, await response.text()]
    }
    const me = { 'x-demo-user': 'me' }
    expect(await get('/orders', { 'x-tenant-id': 'acme', ...me })).toEqual([200, '[]'])
    expect(await get('/health')).toEqual([200, 'ok'])
    const refused = await get('/orders', { 'x-tenant-id': 'nobody', ...me })
    expect(refused[0]).toBe(400)
    expect(await get('/orders', { 'x-tenant-id': 'acme' })).toEqual(refused)
  })
})

/** The text with each of these changed; each must be there. */
function replaced(text: string, changes: readonly (readonly [from: string, to: string])[]): string {
  return changes.reduce((changed, [from, to]) => {
    expect(changed).toContain(from)
    return changed.replace(from, to)
  }, text)
}

/** Runs `server.ts` in a user's project; its first line of output is where it listens. */
async function runExample(files: Readonly<Record<string, string>>) {
  const project = userProject(files)
  const tsx = join(root, 'node_modules/tsx/dist/cli.mjs')
  const child = spawn(process.execPath, [tsx, 'server.ts'], { cwd: project.folder, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async () => {
    child.kill('SIGTERM')
    await ended
    project.remove()
  }
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const origin = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()))
    child.once('close', () => reject(new Error(`The example ended.\n${said}`)))
  })
  return { origin, stop }
}
