import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

/*
 * The types as a user gets them: the package is built, put into the node_modules of a small project with one version of
 * Drizzle, and the project is compiled. Augmenting `Register` changes the whole program, so it needs one of its own.
 */

const root = fileURLToPath(new URL('../..', import.meta.url))
const tsc = join(root, 'node_modules/typescript/bin/tsc')

/** Runs tsc; its complaints, or '' when there are none. */
function compile(...options: string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(process.execPath, [tsc, ...options], { cwd: root }, (error, stdout, stderr) =>
      resolve(error === null ? '' : stdout + stderr || error.message),
    )
  })
}

const compilerOptions = {
  target: 'ES2023',
  module: 'NodeNext',
  moduleResolution: 'NodeNext',
  strict: true,
  exactOptionalPropertyTypes: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
}

const equal = `
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const holds = <T extends true>(): T | undefined => undefined
`

const tables = `
import { sql } from 'drizzle-orm'
import { foreignKey, integer, pgTable, primaryKey, serial, text, unique, uuid } from 'drizzle-orm/pg-core'
import { tenantKeys } from 'fastify-tenancy/tenant-keys'
export const keys = tenantKeys({ uuid, primaryKey, foreignKey, unique, sql })
export const memos = pgTable('memos', { tenantId: keys.tenantId(), id: serial() }, (t) => [
  keys.tenantPrimaryKey(t, { columns: [t.id] }),
])
export const customers = pgTable('customers', { id: serial().primaryKey(), name: text().notNull() })
export const orders = pgTable('orders', {
  id: serial().primaryKey(),
  customerId: integer('customer_id').notNull(),
  total: integer().notNull(),
})
`

const schema = {
  '0.45': `${tables}
import { relations } from 'drizzle-orm'
export const orderRelations = relations(orders, ({ one }) => ({
  customer: one(customers, { fields: [orders.customerId], references: [customers.id] }),
}))
`,
  '1.0': `${tables}
import { defineRelations } from 'drizzle-orm'
export const relations = defineRelations({ customers, orders }, (r) => ({
  orders: { customer: r.one.customers({ from: r.orders.customerId, to: r.customers.id, optional: false }) },
}))
`,
}

/** The README's way, word for word, but for the second driver. */
const database = {
  '0.45': (driver: string) => `
import { drizzle } from 'drizzle-orm/${driver}'
import * as schema from './schema.js'
import type { TenancyOptions } from 'fastify-tenancy'
export type Db = ReturnType<typeof drizzle<typeof schema>>
export const options: TenancyOptions = { drizzle: (client) => drizzle({ client, schema }) }
`,
  '1.0': (driver: string) => `
import { drizzle } from 'drizzle-orm/${driver}'
import { relations } from './schema.js'
import type { TenancyOptions } from 'fastify-tenancy'
export type Db = ReturnType<typeof drizzle<typeof relations>>
export const options: TenancyOptions = { drizzle: (client) => drizzle({ client, relations }) }
`,
}

const app = `
import Fastify from 'fastify'
import tenancy, { getTenantDb, getTenantMetadata } from 'fastify-tenancy'
import { z } from 'zod'
import { type Db, options } from './database.js'
import { memos, orders } from './schema.js'

declare module 'fastify-tenancy' {
  interface Register { db: Db; metadata: z.infer<typeof metadataSchema> }
}
${equal}
const metadataSchema = z.object({ plan: z.enum(['free', 'pro']).default('free'), seats: z.number().optional() })
const app = Fastify()
await app.register(tenancy, { ...options, metadataSchema })
holds<Equal<ReturnType<typeof getTenantMetadata>['plan'], 'free' | 'pro'>>()
holds<Equal<ReturnType<typeof app.tenancy.metadataOf>['seats'], number | undefined>>()
// @ts-expect-error no such key
getTenantMetadata().price
// @ts-expect-error no schema
await app.register(tenancy, { ...options, metadataSchema: { parse: () => ({}) } })
await app.register(tenancy, options)
await app.register(tenancy, { ...options, databaseUrl: 'postgres://app@localhost/saas' })

export const same = [
  holds<Equal<0 extends 1 & Db ? true : false, false>>(),
  holds<Equal<[Db] extends [never] ? true : false, false>>(),
  holds<Equal<ReturnType<typeof getTenantDb>, Db>>(),
  holds<Equal<typeof app.tenancy extends { adminDb(): Promise<infer T> } ? T : never, Db>>(),
]

holds<Equal<typeof memos.$inferSelect, { tenantId: string; id: number }>>()
holds<Equal<typeof memos.$inferInsert, { tenantId?: string | undefined; id?: number | undefined }>>()
app.get('/orders', () => getTenantDb().select().from(orders))
app.get('/relational', async (request) => {
  holds<Equal<typeof request.tenantDb, Db>>()
  const found = await request.tenantDb.query.orders.findFirst({ with: { customer: true } })
  holds<Equal<typeof found, { id: number; customerId: number; total: number; customer: { id: number; name: string } } | undefined>>()
  // @ts-expect-error no such relation
  await request.tenantDb.query.orders.findFirst({ with: { supplier: true } })
  // @ts-expect-error no such table
  request.tenantDb.query.invoices
  return found
})
app.post('/orders', { config: { tenancy: { transaction: true } } }, async ({ tenant }) => {
  // @ts-expect-error the tenant may be null
  tenant.identifier
  // @ts-expect-error a total is a number
  await getTenantDb().insert(orders).values({ customerId: 1, total: 'much' })
  return getTenantDb().transaction(async (tx) => tx.insert(orders).values({ customerId: 1, total: 2 }).returning())
})
const count: number = await (await app.tenancy.adminDb()).$count(orders)
export { count }
`

const unregistered = `
import type { FastifyRequest } from 'fastify'
import tenancy, { getTenantDb, getTenantMetadata, type Tenancy, type TenantDb } from 'fastify-tenancy'
${equal}
export const types = [
  holds<Equal<TenantDb, unknown>>(),
  holds<Equal<ReturnType<typeof getTenantDb>, unknown>>(),
  holds<Equal<ReturnType<typeof getTenantMetadata>, Readonly<Record<string, unknown>>>>(),
  holds<Equal<FastifyRequest['tenantDb'], unknown>>(),
  holds<Equal<Awaited<ReturnType<Tenancy['adminDb']>>, unknown>>(),
]
export default tenancy
`

describe('the built package', () => {
  let folder: string
  const packageIn = (project: string) => join(folder, project, 'node_modules', 'fastify-tenancy')

  /** A project whose node_modules hold our package and `packages` (name in it → name in ours). */
  async function project(
    name: string,
    packages: Record<string, string>,
    files: Record<string, string>,
  ): Promise<string> {
    const modules = join(folder, name, 'node_modules')
    await mkdir(modules, { recursive: true })
    await cp(join(folder, 'package'), packageIn(name), { recursive: true })
    const { dependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>
    }
    const own = Object.fromEntries(Object.keys(dependencies).map((dependency) => [dependency, dependency]))
    for (const [alias, original] of Object.entries({ ...own, ...packages })) {
      await mkdir(dirname(join(modules, alias)), { recursive: true })
      await symlink(await realpath(join(root, 'node_modules', original)), join(modules, alias))
    }
    const written = { 'package.json': '{ "type": "module" }', ...files }
    for (const [file, content] of Object.entries(written)) await writeFile(join(folder, name, file), content)
    return join(folder, name)
  }
  const check = async (path: string, options: object = {}) => {
    await writeFile(
      join(path, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: { ...compilerOptions, ...options }, include: ['*.ts'] }),
    )
    return compile('-p', path)
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tenancy-types-'))
    expect(await compile('-p', 'tsconfig.json', '--outDir', join(folder, 'package/dist'))).toBe('')
    await cp(join(root, 'package.json'), join(folder, 'package/package.json'))
  }, 60_000)
  afterAll(() => rm(folder, { recursive: true, force: true }))

  for (const [version, installed] of [
    ['0.45', 'drizzle-orm'],
    ['1.0', 'drizzle-orm-v1'],
  ] as const) {
    for (const driver of ['node-postgres', 'pglite']) {
      it(`has the user's own database type with drizzle-orm ${version} on ${driver}`, async () => {
        const packages = { fastify: 'fastify', 'drizzle-orm': installed, '@types/pg': '@types/pg' }
        const files = {
          'app.ts': app,
          'schema.ts': schema[version],
          'database.ts': database[version](driver),
        }
        const path = await project(`${version}-${driver}`, packages, files)
        expect(await check(path)).toBe('')
        // The program above must be one that can fail.
        await writeFile(
          join(path, 'wrong.ts'),
          `import { getTenantDb } from 'fastify-tenancy'\ngetTenantDb().selekt()\n`,
        )
        expect(await check(path)).toMatch(/^wrong\.ts.*selekt|wrong\.ts.*selekt/m)
      }, 60_000)
    }
  }

  it('has a database of type `unknown` without the augmentation, and needs neither Drizzle nor a driver', async () => {
    const path = await project('bare', { fastify: 'fastify' }, { 'app.ts': unregistered })
    expect(await check(path)).toBe('')
  }, 60_000)

  it('names neither Drizzle nor a driver in its declarations', async () => {
    const dist = join(folder, 'package/dist')
    const declarations = (await readdir(dist, { recursive: true })).filter((file) => file.endsWith('.d.ts'))
    expect(declarations).toContain('index.d.ts')
    for (const file of declarations) {
      const text = (await readFile(join(dist, file), 'utf8')).replace(/\/\*[\s\S]*?\*\//g, '')
      const named = text.match(
        /(?:from|import\(|module|reference types=)\s*['"](drizzle-orm|pg|@types\/pg|@electric-sql)[^'"]*['"]/,
      )
      expect(named?.[0], file).toBeUndefined()
    }
  })
})
