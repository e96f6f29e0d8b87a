import { execFile, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { rolesScript } from '../../src/dialects/postgres/roles-script.ts'
import { createTestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { asSuperuser } from '../support/database.ts'
import { asRoot } from '../support/mysql.ts'
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

/** Each says of what type its database is, so each is a project of its own. */
test.each(['', 'mysql-', 'sqlite-', 'better-'])(
  '[W67] every block for drizzle-orm 0.45 type-checks (%s)',
  async (app) => {
    const own = blocks.filter(
      ({ drizzle, file }) =>
        drizzle === '0.45' &&
        ((/^(?:mysql|sqlite|better)-(?!sqlite)/.exec(file)?.[0] ?? '') === app ||
          (app === 'better-' && file === 'sqlite-schema.ts')),
    )
    expect(own.length).toBeGreaterThan(1)
    expect(await compile(filesOf(own))).toBe('')
  },
)

test('[W67] every block for drizzle-orm 1.0 type-checks', async () => {
  const recent = blocks.filter(
    ({ drizzle, file }) => (drizzle === '1.0' && !file.startsWith('mssql-')) || file === 'schema.ts',
  )
  expect(recent.length).toBeGreaterThan(1)
  expect(await compile(filesOf(recent), '1.0')).toBe('')
})

test('[W67] the example for SQL Server type-checks', async () => {
  const { 'mssql-server.ts': server = '', 'mssql-schema.ts': schema = '' } = filesOf(blocks)
  // Our sources, which stand in for the package here, declare this module in their own way, and that would win.
  const adapter = JSON.stringify(join(root, 'node_modules/drizzle-orm-v1/node-mssql/index.js'))
  const files = {
    'mssql-server.ts': replaced(server, [[`'drizzle-orm/node-mssql'`, adapter]]),
    'mssql-schema.ts': schema,
  }
  expect(await compile(files, '1.0')).toBe('')
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
        listening,
      ]),
    })
    onTestFinished(stop)

    expect(await ask(origin, '/orders', as('acme'))).toEqual([200, '[]'])
    expect(await ask(origin, '/health')).toEqual([200, 'ok'])
    const refused = await ask(origin, '/orders', as('nobody'))
    expect(refused[0]).toBe(400)
    expect(await ask(origin, '/orders', { 'x-tenant-id': 'acme' })).toEqual(refused)
  })
})

describeWith(['mariadb'], 'the example for MySQL and MariaDB', ({ mariadb }) => {
  test('[W67] runs as it is printed, with the accounts that its SQL makes', async () => {
    const page = readFileSync(join(root, 'docs/mysql-sqlite.md'), 'utf8')
    const accounts = /^```sql\n([\s\S]*?)^```$/m.exec(page)?.[1]?.split('\n').filter(Boolean) ?? []
    expect(accounts).toHaveLength(3)
    onTestFinished(async () => {
      const made = await asRoot<{ name: string }>(mariadb.url, [
        `select namespace as name from tenancy.tenants union all select 'tenancy'`,
      ]).catch(() => [])
      const databases = made.map(({ name }) => `drop database if exists ${name}`)
      await asRoot(mariadb.url, [...databases, 'drop user if exists app, owner'])
    })
    await asRoot(mariadb.url, accounts)

    const { host } = new URL(mariadb.url)
    const files = filesOf(blocks)
    const { origin, stop } = await runExample({
      ...migrationOf(
        'CREATE TABLE `orders` (`id` int AUTO_INCREMENT NOT NULL PRIMARY KEY, `article` varchar(100) NOT NULL);',
      ),
      'mysql-schema.ts': files['mysql-schema.ts'] ?? '',
      'server.ts': replaced(files['mysql-server.ts'] ?? '', [
        ['secret-1@localhost', `secret-1@${host}`],
        ['secret-2@localhost', `secret-2@${host}`],
        listening,
      ]),
    })
    onTestFinished(stop)
    expect((await ask(origin, '/orders', as('acme'), 'POST'))[0]).toBe(200)
    expect(await ask(origin, '/orders', as('acme'))).toEqual([200, '[{"id":1,"article":"anvil"}]'])
    expect(await ask(origin, '/orders', as('globex'))).toEqual([200, '[]'])
  })
})

describeWith(['postgres18'], 'moving tenants to another strategy', ({ postgres18 }) => {
  test('[W67] the example copies the rows of each, and can be run again', async () => {
    const database = await createTestDatabase(postgres18.url)
    onTestFinished(() => database.drop())
    const { appRole: servingRole, ownerRole: adminRole } = database
    const script = rolesScript({ database: database.database, servingRole, adminRole })
    await asSuperuser(database, (client) => client.query(script))
    const urls = `{ databaseUrl: ${JSON.stringify(database.appUrl)}, adminDatabaseUrl: ${JSON.stringify(database.adminUrl)}`
    const own = JSON.stringify(join(root, 'docs/demo/drizzle'))
    const files = filesOf(blocks)
    const begin = `import Fastify from 'fastify'\nimport tenancy, { getTenantDb } from 'fastify-tenancy'\n`
    const seed = `${begin}import { orders } from './schema.js'
      const app = Fastify()
      await app.register(tenancy, ${urls}, migrations: ${own} })
      for (const identifier of ['acme', 'globex', 'empty']) await app.tenancy.register({ identifier })
      for (const article of ['anvil', 'rope']) await app.tenancy.run('acme', () => getTenantDb().insert(orders).values({ article }))
      await app.tenancy.run('globex', () => getTenantDb().insert(orders).values({ article: 'piano' }))
      await app.close()`
    const check = `${begin}import { orders } from './shared-schema.js'
      const app = Fastify()
      await app.register(tenancy, ${urls}, isolationStrategy: 'rls', registrySchema: 'tenancy_rls' })
      await app.tenancy.run('acme', () => getTenantDb().insert(orders).values({ article: 'new' }))
      for (const identifier of ['acme', 'globex', 'empty']) {
        const rows = await app.tenancy.run(identifier, () => getTenantDb().select().from(orders).orderBy(orders.id))
        console.log(identifier, rows.map(({ id, article }) => id + ' ' + article).join())
      }
      await app.close()`
    const move = replaced(files['move.ts'] ?? '', [
      [`'postgres://app@localhost/saas'`, JSON.stringify(database.appUrl)],
      [`'postgres://owner@localhost/saas'`, JSON.stringify(database.adminUrl)],
      [`'./drizzle'`, own],
    ])
    const shared = `CREATE TABLE "orders" (
      "tenant_id" uuid DEFAULT cast(nullif(current_setting('app.current_tenant', true), '') as uuid) NOT NULL,
      "id" integer GENERATED ALWAYS AS IDENTITY NOT NULL, "article" text NOT NULL, "quantity" integer DEFAULT 1 NOT NULL,
      PRIMARY KEY ("tenant_id", "id"));`
    const project = userProject({
      'shared-drizzle/meta/_journal.json': '{"entries":[{"tag":"0000_orders","when":1}]}',
      'shared-drizzle/0000_orders.sql': shared,
      'schema.ts': files['schema.ts'] ?? '',
      'shared-schema.ts': files['shared-schema.ts'] ?? '',
      'seed.ts': seed,
      'move.ts': move,
      'check.ts': check,
    })
    onTestFinished(project.remove)
    for (const file of ['seed.ts', 'move.ts', 'move.ts']) expect(await run(project.folder, file)).toBe('')
    expect(await run(project.folder, 'check.ts')).toBe('acme 1 anvil,2 rope,4 new\nglobex 1 piano\nempty \n')
  })
})

test('[W67] the example of tests runs as it is printed', async () => {
  const files = filesOf(blocks)
  const migrations = JSON.stringify(join(root, 'docs/demo/drizzle'))
  const project = userProject({
    'schema.ts': files['schema.ts'] ?? '',
    'orders-app.ts': replaced(files['orders-app.ts'] ?? '', [[`'./drizzle'`, migrations]]),
    'orders-app-test.ts': files['orders-app-test.ts'] ?? '',
  })
  onTestFinished(project.remove)
  expect(await run(project.folder, '--test', 'orders-app-test.ts')).toMatch(/# pass 1\n# fail 0/)
})

test('[W67] the example for SQLite runs as it is printed', async () => {
  const files = filesOf(blocks)
  const { origin, folder, stop } = await runExample({
    ...migrationOf('CREATE TABLE `orders` (`id` integer PRIMARY KEY NOT NULL, `article` text NOT NULL);'),
    'sqlite-schema.ts': files['sqlite-schema.ts'] ?? '',
    'server.ts': replaced(files['sqlite-server.ts'] ?? '', [listening]),
  })
  onTestFinished(stop)
  expect((await ask(origin, '/orders', as('acme'), 'POST'))[0]).toBe(200)
  expect(await ask(origin, '/orders', as('acme'))).toEqual([200, '[{"id":1,"article":"anvil"}]'])
  expect(await ask(origin, '/orders', as('globex'))).toEqual([200, '[]'])
  const tenants = readdirSync(join(folder, 'app.db.tenants')).filter((name) => name.endsWith('.db'))
  expect(tenants).toHaveLength(2)
})

test('[W67] the example of notes of a request runs as it is printed', async () => {
  const { origin, stop } = await runExample({
    'server.ts': replaced(filesOf(blocks)['request-notes.ts'] ?? '', [listening]),
  })
  onTestFinished(stop)
  const asked = ['ann', 'bob'].map((user) => ask(origin, '/signature', { ...as('acme'), 'x-user': user }))
  expect(await Promise.all(asked)).toEqual([
    [200, 'ann of acme'],
    [200, 'bob of acme'],
  ])
  expect(await ask(origin, '/ping')).toEqual([200, 'pong'])
  expect(await ask(origin, '/nested', { ...as('acme'), 'x-user': 'ann' })).toEqual([200, '0'])
})

const listening = [
  `await app.listen({ port: 3000 })`,
  `console.log(await app.listen({ port: 0, host: '127.0.0.1' }))`,
] as const

const as = (tenant: string) => ({ 'x-tenant-id': tenant, 'x-demo-user': 'me' })

async function ask(origin: string, path: string, headers: Record<string, string> = {}, method = 'GET') {
  const response = await fetch(origin + path, { headers, method })
  return [response.status, await response.text()]
}

/** A migration folder as drizzle-kit writes it. */
function migrationOf(text: string): Record<string, string> {
  return {
    'drizzle/meta/_journal.json': '{"entries":[{"tag":"0000_orders","when":1}]}',
    'drizzle/0000_orders.sql': text,
  }
}

/** The text with each of these changed; each must be there. */
function replaced(text: string, changes: readonly (readonly [from: string, to: string])[]): string {
  return changes.reduce((changed, [from, to]) => {
    expect(changed).toContain(from)
    return changed.replace(from, to)
  }, text)
}

/** What a script of a user's project wrote, to either place. */
function run(folder: string, ...args: string[]): Promise<string> {
  const tsx = join(root, 'node_modules/tsx/dist/cli.mjs')
  return new Promise((done) => {
    execFile(process.execPath, [tsx, ...args], { cwd: folder }, (_error, stdout, stderr) => done(stdout + stderr))
  })
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
  return { origin, folder: project.folder, stop }
}
