import { randomUUID } from 'node:crypto'
import { Cache, type MutationOption } from 'drizzle-orm/cache/core'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import { pgTable, text } from 'drizzle-orm/pg-core'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { createLru } from '../../src/cache/lru.ts'
import { runInContext, TenancyContext } from '../../src/context.ts'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Tenant } from '../../src/contracts/tenant.ts'
import { findTenancyError } from '../../src/errors.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { createTenantDatabases, type DrizzleFactory } from '../../src/isolation/tenant-databases.ts'
import { createRevocations, type Revocations } from '../../src/tenants/revocations.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase, open, testServer } from '../support/database.ts'

const items = pgTable('items', { owner: text('owner').notNull() })
const strategy = namespaceStrategy('schema')

/** A cache as an application may have it: shared by all, and it believes its keys. */
class MemoryCache extends Cache {
  hits = 0
  readonly #entries = new Map<string, { response: unknown[]; tables: readonly string[] }>()

  get size() {
    return this.#entries.size
  }

  override strategy() {
    return 'all' as const
  }

  override async get(key: string) {
    const found = this.#entries.get(key)
    if (found !== undefined) this.hits++
    return found?.response
  }

  override async put(key: string, response: unknown, tables: string[]) {
    this.#entries.set(key, { response: response as unknown[], tables })
  }

  override async onMutate({ tables = [] }: MutationOption) {
    const changed = [tables].flat() as string[]
    for (const [key, entry] of this.#entries) {
      if (entry.tables.some((table) => changed.includes(table))) this.#entries.delete(key)
    }
  }
}

describeWith(['postgres15'], "Drizzle's query cache", ({ postgres15 }) => {
  let database: TestDatabase
  let server: DatabaseServer
  let a: Tenant
  let b: Tenant
  let cache: MemoryCache
  let revoked: Revocations

  beforeAll(async () => {
    database = await baselineDatabase(postgres15.url)
    server = testServer(database)
    await server.open()
    a = await provisioned('a')
    b = await provisioned('b')
  })
  afterAll(async () => {
    await server?.close()
    await database?.drop()
  })
  beforeEach(() => {
    revoked = createRevocations()
    cache = new MemoryCache()
  })

  const provisioned = async (identifier: string): Promise<Tenant> => {
    const id = randomUUID()
    const placement = strategy.place({ id, identifier, metadata: {} })
    await server.inNamespace(strategy.scope({ id, placement }), async (session) => {
      await session.ensure()
      await session.run('create table items (owner text not null)')
      await session.run(`insert into items values ('${identifier}')`)
    })
    const rest = { status: 'active', metadata: {}, version: 1, createdAt: '', updatedAt: '' } as const
    return { id, identifier, name: identifier, placement, ...rest }
  }
  const databasesOf = (factory: DrizzleFactory) =>
    createTenantDatabases({ server, strategy, factory, handles: createLru<object>({ max: 10 }), revoked })
  const over = (client: object, own: MemoryCache) => drizzle({ client: client as never, cache: own })
  const cached = () => databasesOf((client, context) => over(client, context.cache(cache)))
  const read = async (db: object) => {
    const rows = await (db as NodePgDatabase).select({ owner: items.owner }).from(items)
    return rows.map(({ owner }) => owner)
  }
  const codeOf = async (work: Promise<unknown>) => {
    const error: unknown = await work.then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    return findTenancyError(error)?.code
  }

  it('never serves one tenant what another one asked', async () => {
    const databases = cached()
    for (let i = 0; i < 3; i++) {
      expect(await read(databases.of(a))).toEqual(['a'])
      expect(await read(databases.of(b))).toEqual(['b'])
    }
    expect(cache).toMatchObject({ hits: 4, size: 2 })
  })

  it('control: the same cache without views serves a foreign row', async () => {
    const bare = (tenant: Tenant) => over(server.client(strategy.scope(tenant), open), cache)
    expect(await read(bare(a))).toEqual(['a'])
    expect(await read(bare(b))).toEqual(['a'])
  })

  it('is refused without a view, and with the view of another tenant', async () => {
    const code = 'TENANCY_ERR_DRIZZLE_FACTORY'
    expect(() => databasesOf((client) => over(client, cache)).of(a)).toThrow(expect.objectContaining({ code }))
    let first: MemoryCache | undefined
    const stolen = databasesOf((client, context) => over(client, (first ??= context.cache(cache))))
    stolen.of(a)
    expect(() => stolen.of(b)).toThrow(expect.objectContaining({ code }))
  })

  it('gives nothing of a tenant that is no longer served, and nothing in the context of another', async () => {
    const databases = cached()
    await read(databases.of(a))
    const context = new TenancyContext({ databaseOf: databases.of, run: () => Promise.reject(new TypeError()) }, b)
    expect(await codeOf(runInContext(context, () => read(databases.of(a))))).toBe('TENANCY_ERR_TENANT_MISMATCH')
    revoked.revoke(a.id)
    expect(await codeOf(read(databases.of(a)))).toBe('TENANCY_ERR_TENANT_REVOKED')
  })

  it('forgets what its tenant changed, and only that', async () => {
    const databases = cached()
    await read(databases.of(a))
    await read(databases.of(b))
    await (databases.of(a) as NodePgDatabase).insert(items).values({ owner: 'a' })
    expect(await read(databases.of(a))).toEqual(['a', 'a'])
    expect(cache.hits).toBe(0)
    expect(await read(databases.of(b))).toEqual(['b'])
    expect(cache.hits).toBe(1)
    await (
      databases.of(b) as NodePgDatabase & { $cache: { invalidate(what: object): Promise<void> } }
    ).$cache.invalidate({
      tables: items,
    })
    await read(databases.of(b))
    expect(cache.hits).toBe(1)
    await server.admin.query(`delete from "${a.placement.namespace}".items where ctid <> '(0,1)'`)
  })

  it('keeps nothing of the admin connection', async () => {
    const admin = cached().admin() as NodePgDatabase
    await admin.execute('select 1')
    await admin
      .select({ owner: items.owner })
      .from(items)
      .catch(() => {})
    expect(cache.size).toBe(0)
  })
})
