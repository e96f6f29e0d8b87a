import { asc, eq, sql } from 'drizzle-orm'
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import {
  bigint,
  foreignKey,
  getTableConfig,
  integer,
  pgTable,
  primaryKey,
  text,
  unique,
  uuid,
  varchar,
} from 'drizzle-orm/pg-core'
import { drizzle as drizzlePglite } from 'drizzle-orm/pglite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatabaseServer } from '../../src/contracts/dialect.ts'
import type { Scope } from '../../src/contracts/isolation.ts'
import { createPgliteServer } from '../../src/dialects/postgres/drivers/pglite-server.ts'
import { namespaceStrategy } from '../../src/isolation/namespace.ts'
import { rlsStrategy } from '../../src/isolation/rls.ts'
import { readMigrations } from '../../src/migrations/reader.ts'
import { migrateNamespace } from '../../src/migrations/runner.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { tenantKeys } from '../../src/tenant-keys.ts'
import { customers, orderLines, orders } from '../fixtures/shared-tables/schema.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { baselineDatabase, open, placedScope, sharedSchemas, testServer } from '../support/database.ts'
import { codeOf, migrationOf } from '../support/rls.ts'
import { type DatabaseHost, databaseHost } from '../support/tenant-databases.ts'

const kits = ['kit-0.31', 'kit-1.0'] as const

/** What a schema file made with the helper must do, on whatever migrations the kit made of it. */
function itKeepsTenantsApart(
  given: () => { a: NodePgDatabase; b: NodePgDatabase; server: DatabaseServer; schema: string },
) {
  const filled = async (db: NodePgDatabase, who: string) => {
    const [first] = await db
      .insert(customers)
      .values({ email: `${who}@example.com` })
      .returning()
    const customerId = first?.id ?? 0
    await db.insert(customers).values({ email: 'same@example.com', referrerId: customerId })
    await db.insert(orders).values({ year: 2026, number: 1, customerId })
    await db.insert(orderLines).values({ year: 2026, number: 1, line: 1, article: who })
    return customerId
  }

  it('[W10] [W29] writes and reads without naming the tenant, and keys end at it', async () => {
    const { a, b } = given()
    const ids = [await filled(a, 'a'), await filled(b, 'b')] as const
    for (const [db, who] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      const rows = await db
        .select({ article: orderLines.article, email: customers.email })
        .from(orderLines)
        .innerJoin(orders, eq(orders.number, orderLines.number))
        .innerJoin(customers, eq(customers.id, orders.customerId))
        .orderBy(asc(orderLines.line))
      expect(rows).toEqual([{ article: who, email: `${who}@example.com` }])
    }
    const tenants = await Promise.all([a, b].map((db) => db.selectDistinct({ id: customers.tenantId }).from(customers)))
    expect(new Set(tenants.flat().map(({ id }) => id)).size).toBe(2)
    // The other tenant's row cannot be referred to, by any of the keys.
    const order = { year: 2026, number: 2, customerId: ids[1] }
    expect(await codeOf(a.insert(orders).values(order).execute())).toBe('23503')
    const referred = { email: 'new@example.com', referrerId: ids[1] }
    expect(await codeOf(a.insert(customers).values(referred).execute())).toBe('23503')
    const stolen = { tenantId: tenants[1]?.[0]?.id ?? '', email: 'stolen@example.com' }
    expect(await codeOf(a.insert(customers).values(stolen).execute())).toBe('42501')
    // Unique inside a tenant.
    expect(await codeOf(a.insert(customers).values({ email: 'same@example.com' }).execute())).toBe('23505')
    const twice = { year: 2026, number: 1, line: 2, article: 'a' }
    expect(await codeOf(a.insert(orderLines).values(twice).execute())).toBe('23505')
    // A cascade ends at the tenant too.
    await a.delete(orderLines)
    await a.delete(customers).where(eq(customers.email, 'same@example.com'))
    await a.delete(customers)
    expect([await a.$count(orders), await b.$count(orders), await b.$count(customers)]).toEqual([0, 1, 2])
  })

  it('needs no repair of what the kit made: every key begins with the tenant', async () => {
    const { server, schema } = given()
    const keys = await server.admin.query<{ name: string; first: string }>(
      `select c.conname::text as name, a.attname::text as first from pg_constraint c
       join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
       where c.connamespace = $1::regnamespace and c.contype in ('p', 'u', 'f') and c.conrelid::regclass::text !~ '__(drizzle|tenancy)_' order by 1`,
      [schema],
    )
    expect(keys).toHaveLength(8)
    expect(keys.filter(({ first }) => first !== 'tenant_id')).toEqual([])
    const indexes = await server.admin.query(
      `select indexname from pg_indexes where schemaname = $1 and tablename !~ '__(drizzle|tenancy)_'`,
      [schema],
    )
    expect(indexes).toHaveLength(5)
  })
}

for (const kit of kits) {
  for (const name of ['postgres15', 'postgres18'] as const) {
    describeWith([name], `a schema file with tenantKeys(), migrated by ${kit}, on ${name}`, (servers) => {
      let database: TestDatabase
      let server: DatabaseServer
      const scopes = [placedScope(rlsStrategy()), placedScope(rlsStrategy())] as const
      const over = (scope: Scope) => drizzle({ client: server.client(scope, open) as never }) as NodePgDatabase
      beforeAll(async () => {
        database = await baselineDatabase(servers[name].url)
        server = testServer(database, { strategies: ['rls'] })
        await server.open()
        const migrations = await readMigrations(`test/fixtures/shared-tables/${kit}`)
        for (const scope of scopes) await migrateNamespace({ server, scope, migrations })
      })
      afterAll(async () => {
        await server?.close()
        await database?.drop()
      })
      itKeepsTenantsApart(() => ({ a: over(scopes[0]), b: over(scopes[1]), server, schema: 'rls' }))
    })
  }

  describe(`a schema file with tenantKeys(), migrated by ${kit}, on PGlite`, () => {
    let server: DatabaseServer
    const scopes = [placedScope(rlsStrategy()), placedScope(rlsStrategy())] as const
    const over = (scope: Scope) =>
      drizzlePglite({ client: server.client(scope, open) as never }) as unknown as NodePgDatabase
    beforeAll(async () => {
      const options = { folder: undefined, registrySchema: 'tenancy', poolTimeout: 30, onStatement: undefined }
      server = createPgliteServer({ ...options, shared: sharedSchemas })
      await server.open()
      const migrations = await readMigrations(`test/fixtures/shared-tables/${kit}`)
      for (const scope of scopes) await migrateNamespace({ server, scope, migrations })
    })
    afterAll(() => server?.close())
    itKeepsTenantsApart(() => ({ a: over(scopes[0]), b: over(scopes[1]), server, schema: 'rls' }))
  })
}

describeWith(['postgres18'], 'a schema file with tenantKeys() where a tenant has tables of its own', (servers) => {
  let host: DatabaseHost
  let server: DatabaseServer
  beforeAll(async () => {
    host = await databaseHost(servers.postgres18.url)
    server = testServer(host, { strategies: ['schema', 'prefix', 'database'], databaseTemplate: host.template })
    await server.open()
  })
  afterAll(async () => {
    await server?.close()
    await host?.drop()
  })

  it.each(['schema', 'prefix', 'database'] as const)('%s: its rows carry its key all the same', async (name) => {
    const strategy = namespaceStrategy(name)
    const key = `aaaaaaaa-bbbb-4ccc-8ddd-${name.padEnd(12, '0').replaceAll(/[^0-9a-f]/g, '1')}`
    const scopes = [placedScope(strategy), placedScope(strategy, key)]
    const migrations = await readMigrations('test/fixtures/shared-tables/kit-1.0')
    for (const scope of scopes) await migrateNamespace({ server, scope, migrations })
    adoptTables({ customers, orders, orderLines })
    for (const scope of scopes) {
      const db = drizzle({ client: server.client(scope, open) as never }) as NodePgDatabase
      const own = { tenantId: scope === scopes[1] ? key : scope.tenantId, email: 'a@example.com' }
      await db.insert(customers).values({ email: own.email })
      expect(await db.select({ tenantId: customers.tenantId, email: customers.email }).from(customers)).toEqual([own])
      // Once more: there is nothing to change.
      await migrateNamespace({ server, scope, migrations })
      await db.insert(orders).values({ year: 1, number: 1, customerId: 1 })
      expect(await db.$count(orders)).toBe(1)
    }
  })

  it('leaves a column alone that has another default', async () => {
    const scope = placedScope(namespaceStrategy('schema'))
    const table = `create table other (tenant_id uuid default 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee01', id int)`
    await migrateNamespace({ server, scope, migrations: [migrationOf(table)] })
    const db = drizzle({ client: server.client(scope, open) as never }) as NodePgDatabase
    await db.execute(sql`insert into other (id) values (1)`)
    expect((await db.execute(sql`select tenant_id from other`)).rows).toEqual([
      { tenant_id: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee01' },
    ])
  })
})

describe('tenantKeys', () => {
  const functions = { primaryKey, foreignKey, unique, sql }

  it('puts the tenant in front of every key, and keeps names and actions', () => {
    const { primaryKeys, foreignKeys, uniqueConstraints } = getTableConfig(orders)
    const [key, reference] = [primaryKeys[0], foreignKeys[0]]
    const namesOf = (columns: readonly { readonly name: string }[] = []) => columns.map((column) => column.name)
    expect([key?.getName(), ...namesOf(key?.columns)]).toEqual(['orders_key', 'tenant_id', 'year', 'number'])
    expect([reference?.getName(), reference?.onDelete]).toEqual(['orders_customer', 'cascade'])
    expect(namesOf(reference?.reference().columns)).toEqual(['tenant_id', 'customer_id'])
    expect(namesOf(reference?.reference().foreignColumns)).toEqual(['tenant_id', 'id'])
    expect(uniqueConstraints).toEqual([])
    const [once] = getTableConfig(orderLines).uniqueConstraints
    expect([once?.getName(), ...namesOf(once?.columns)]).toEqual([
      'article_once',
      'tenant_id',
      'year',
      'number',
      'article',
    ])
  })

  it('makes a column of the type that it is given, under the name that it is given, anew for each table', () => {
    const made = {
      uuid: tenantKeys({ uuid, ...functions }),
      text: tenantKeys({ text, ...functions }),
      integer: tenantKeys({ integer, ...functions, tenantColumn: 'customer' }),
      bigint: tenantKeys({ bigint: (name) => bigint(name, { mode: 'number' }), ...functions }),
      varchar: tenantKeys({ varchar: (name) => varchar(name, { length: 40 }), ...functions }),
    }
    for (const [type, { tenantId }] of Object.entries(made)) {
      const [column] = getTableConfig(
        pgTable('t', { tenantId: tenantId() as ReturnType<typeof made.uuid.tenantId> }),
      ).columns
      expect(column?.getSQLType().replace('(40)', '')).toBe(type)
      expect(column).toMatchObject({
        name: type === 'integer' ? 'customer' : 'tenant_id',
        notNull: true,
        hasDefault: true,
      })
      expect(tenantId()).not.toBe(tenantId())
    }
  })

  it('refuses no type and more than one', () => {
    for (const types of [{}, { uuid, text }]) {
      expect(() => tenantKeys({ ...types, ...functions } as never)).toThrow(
        expect.objectContaining({
          code: 'TENANCY_ERR_CONFIG_INVALID',
          message: expect.stringContaining('exactly one of uuid, text, varchar, integer, bigint') as string,
        }),
      )
    }
  })
})
