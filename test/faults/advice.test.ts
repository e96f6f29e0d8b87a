import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { drizzle as ofPg } from 'drizzle-orm/node-postgres'
import { drizzle as ofPglite } from 'drizzle-orm/pglite'
import Fastify from 'fastify'
import { expect, it, onTestFinished } from 'vitest'
import tenancy, { getTenantDb, runWithTenant, type TenancyOptions } from '../../src/index.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

function raise(): never {
  throw new TypeError('no tenant')
}

async function registered(options: TenancyOptions, warnings: string[] = []) {
  const stream = { write: (line: string) => void warnings.push((JSON.parse(line) as { msg: string }).msg) }
  const app = Fastify({ pluginTimeout: 60_000, logger: { level: 'warn', stream } })
  onTestFinished(() => app.close())
  await app.register(tenancy, options)
  return app
}

it('after a failed start the way to start anew is told, until there is one', async () => {
  await expect(runWithTenant('acme', () => 1)).rejects.toThrow('running. Register the plugin and await `app.ready()`')
  const app = await registered({ databaseUrl: 'postgres://app@127.0.0.1:1/nowhere' })
  const first: unknown = await Promise.resolve(app.ready()).catch((error: unknown) => error)
  expect(first).toMatchObject({ code: 'TENANCY_ERR_DATABASE_UNAVAILABLE' })
  await expect(Promise.resolve(app.ready())).rejects.toBe(first)
  await expect(runWithTenant('acme', () => 1)).rejects.toMatchObject({
    code: 'TENANCY_ERR_NOT_STARTED',
    message: expect.stringContaining('make a new Fastify instance, or call a verb of `app.tenancy`') as string,
  })
  const again = await registered({ databaseUrl: 'pglite:memory' })
  await again.ready()
  await again.close()
  await expect(runWithTenant('acme', () => 1)).rejects.toThrow('running. Register the plugin')
}, 60_000)

it('`drizzle` of another driver stops the start, and one that needs a tenant does not', async () => {
  const other = await registered({ databaseUrl: 'pglite:memory', drizzle: (client) => ofPg({ client }) })
  await expect(Promise.resolve(other.ready())).rejects.toMatchObject({
    code: 'TENANCY_ERR_DRIZZLE_FACTORY',
    message: expect.stringContaining('(NodePgSession). Here `drizzle` is that of `drizzle-orm/pglite`.') as string,
  })
  // oxlint-disable-next-line typescript/require-await -- what somebody may write, and must not
  const late = await registered({ databaseUrl: 'pglite:memory', drizzle: async (client) => ofPglite({ client }) })
  await expect(Promise.resolve(late.ready())).rejects.toMatchObject({
    code: 'TENANCY_ERR_DRIZZLE_FACTORY',
    message: expect.stringContaining('it is asynchronous.') as string,
  })
  const warnings: string[] = []
  const needy = await registered(
    {
      databaseUrl: 'pglite:memory',
      drizzle: (client, { tenant }) =>
        Object.assign(ofPglite({ client }), { owner: tenant?.identifier.toUpperCase() ?? raise() }),
    },
    warnings,
  )
  await needy.ready()
  // SQL Server's `drizzle(client)` throws at every call: nobody would know before the first request.
  expect(warnings.join()).toContain('There are no `migrations`: ')
  expect(warnings.join()).toContain('where there is no tenant (TypeError: no tenant)')
  await needy.tenancy.register({ identifier: 'acme' })
  expect(await needy.tenancy.run('acme', () => (getTenantDb() as { owner?: string }).owner)).toBe('ACME')
}, 60_000)

it('a strategy that nobody chose is told as the default that it is', async () => {
  const sqlite = { databaseUrl: 'file:./never.db', isolationStrategy: 'hybrid', schema: {} } as const
  await expect(registered({ ...sqlite, premiumIsolationStrategy: 'database' })).rejects.toMatchObject({
    code: 'TENANCY_ERR_STRATEGY_UNSUPPORTED',
    message: expect.stringContaining('rls, the default of `standardIsolationStrategy`, is not') as string,
  })
  await expect(registered({ databaseUrl: 'file:./never.db', isolationStrategy: 'rls' })).rejects.toThrow(
    'The isolation strategy rls is not',
  )
})

it('tables that were not handed in, and none in what was, are two things', async () => {
  const sqlite = { databaseUrl: 'file:./never.db', isolationStrategy: 'prefix' } as const
  await expect(registered(sqlite)).rejects.toThrow('- schema: missing, and')
  await expect(registered({ ...sqlite, schema: {} })).rejects.toThrow('- schema: no table of yours is in it, and')
})

const program = `
import { createLibsqlServer } from './src/dialects/sqlite/drivers/libsql-server.ts'
const server = createLibsqlServer({ url: 'file:./a.db', poolTimeout: 1, closeTimeout: 1, maxOpenFiles: 1 })
try { await server.open() } catch (error) { console.log(error.code, '|', error.message) }
`

it('where libsql is not installed the other driver is named', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tenancy-peer-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  await cp(join(root, 'src'), join(folder, 'src'), { recursive: true })
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  await writeFile(join(folder, 'program.ts'), program)
  await mkdir(join(folder, 'node_modules'))
  await symlink(join(root, 'node_modules/@fastify'), join(folder, 'node_modules/@fastify'))
  const tsx = join(root, 'node_modules/tsx/dist/loader.mjs')
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', tsx, 'program.ts'], { cwd: folder })
  expect(stdout).toBe(
    "TENANCY_ERR_PEER_MISSING | Cannot load `@libsql/client`. Install it beside fastify-tenancy: npm install @libsql/client, or set `sqliteDriver: 'better-sqlite3'`\n",
  )
})
