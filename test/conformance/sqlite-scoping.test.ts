import * as orm from 'drizzle-orm'
import { aliasedTable, and, asc, desc, eq, exists, gt, notInArray, relations, sql } from 'drizzle-orm'
import { drizzle, type LibSQLDatabase } from 'drizzle-orm/libsql'
import { integer, sqliteTable, sqliteView, text, uniqueIndex } from 'drizzle-orm/sqlite-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Scope } from '../../src/contracts/isolation.ts'
import { adoptTables } from '../../src/sql/adopt.ts'
import { codeOf } from '../support/errors.ts'
import { dbOf, newTenant, openSqlite, rawClient, type SqliteServer } from '../support/sqlite.ts'

const orders = sqliteTable(
  'orders',
  {
    id: integer('id').primaryKey(),
    code: text('code').notNull(),
    total: integer('total').notNull().default(0),
    parentId: integer('parent_id'),
  },
  (table) => [uniqueIndex('orders_code').on(table.code)],
)
const lines = sqliteTable('lines', {
  id: integer('id').primaryKey(),
  orderId: integer('order_id')
    .notNull()
    .references(() => orders.id, { onDelete: 'cascade' }),
  total: integer('total').notNull(),
})
const bigOrders = sqliteView('big_orders', { id: integer('id'), code: text('code') }).as(
  sql`select "id", "code" from ${orders} where ${orders.total} > 10`,
)

const statements = [
  'CREATE TABLE `orders` (`id` integer PRIMARY KEY, `code` text NOT NULL, `total` integer DEFAULT 0 NOT NULL, `parent_id` integer)',
  'CREATE UNIQUE INDEX `orders_code` ON `orders` (`code`)',
  'CREATE TABLE `lines` (`id` integer PRIMARY KEY, `order_id` integer NOT NULL, `total` integer NOT NULL, FOREIGN KEY (`order_id`) REFERENCES `orders`(`id`) ON DELETE cascade)',
  'CREATE VIEW `big_orders` AS select "id", "code" from "orders" where "orders"."total" > 10',
]
/** The parts of relational queries that are used here, which the two versions type differently. */
interface Queries {
  readonly orders: {
    findMany(options: object): Promise<{ code: string; lines: unknown[] }[]>
  }
}
interface RelationsOf {
  readonly many: { lines(ends: { from: unknown; to: unknown }): unknown }
  readonly orders: typeof orders
  readonly lines: typeof lines
}

const seed = (name: string) => [
  { id: 1, code: `${name}-1`, total: 5, parentId: null },
  { id: 2, code: `${name}-2`, total: 20, parentId: 1 },
  { id: 3, code: `${name}-3`, total: 30, parentId: 1 },
]
const seedLines = [
  { id: 1, orderId: 2, total: 12 },
  { id: 2, orderId: 2, total: 8 },
  { id: 3, orderId: 3, total: 30 },
]

describe.each(['database', 'prefix'] as const)('%s on SQLite', (strategy) => {
  let files: SqliteServer
  let scope: Scope
  let a: LibSQLDatabase
  let b: LibSQLDatabase
  beforeAll(async () => {
    adoptTables({ orders, lines, bigOrders })
    files = await openSqlite()
    scope = await newTenant(files, strategy, statements)
    a = dbOf(files, scope)
    b = dbOf(files, await newTenant(files, strategy, statements))
  })
  afterAll(() => files.close())
  beforeEach(async () => {
    for (const [db, name] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      await db.delete(lines)
      await db.delete(orders)
      await db.insert(orders).values(seed(name))
      await db.insert(lines).values(seedLines)
    }
  })
  afterEach(async () => {
    expect(await b.select().from(orders).orderBy(orders.id)).toEqual(seed('b'))
    expect(await b.select().from(lines).orderBy(lines.id)).toEqual(seedLines)
  })

  it('joins of every kind, with columns of the same name on both sides', async () => {
    const rows = await a
      .select()
      .from(orders)
      .leftJoin(lines, and(eq(lines.orderId, orders.id), gt(lines.total, 10)))
      .orderBy(asc(orders.id))
    expect(rows.map((row) => [row.orders.code, row.orders.total, row.lines?.total])).toEqual([
      ['a-1', 5, undefined],
      ['a-2', 20, 12],
      ['a-3', 30, 30],
    ])
    const picked = await a
      .select({ code: orders.code, sum: sql<number>`sum(${lines.total})` })
      .from(lines)
      .innerJoin(orders, eq(orders.id, lines.orderId))
      .groupBy(orders.id)
      .having(gt(sql`sum(${lines.total})`, 20))
      .orderBy(desc(orders.code))
    expect(picked).toEqual([{ code: 'a-3', sum: 30 }])
  })

  it('a view, a subquery and a CTE beside tables', async () => {
    const viewed = await a
      .select({ code: bigOrders.code, total: lines.total })
      .from(bigOrders)
      .innerJoin(lines, eq(lines.orderId, bigOrders.id))
      .orderBy(lines.id)
    expect(viewed.map(({ code }) => code)).toEqual(['a-2', 'a-2', 'a-3'])
    // Named like a table of the tenant.
    const named = a
      .$with('lines')
      .as(a.select({ id: orders.id, code: orders.code }).from(orders).where(gt(orders.total, 10)))
    expect(await a.with(named).select({ code: named.code }).from(named).orderBy(named.id)).toEqual([
      { code: 'a-2' },
      { code: 'a-3' },
    ])
    const sub = a
      .select({ orderId: lines.orderId, n: sql<number>`count(*)`.as('n') })
      .from(lines)
      .groupBy(lines.orderId)
      .as('orders_')
    expect(
      await a
        .select({ code: orders.code, n: sub.n })
        .from(orders)
        .innerJoin(sub, eq(sub.orderId, orders.id))
        .orderBy(orders.id),
    ).toEqual([
      { code: 'a-2', n: 2 },
      { code: 'a-3', n: 1 },
    ])
  })

  it('self-joins and correlated subqueries', async () => {
    const parent = aliasedTable(orders, 'parent')
    const rows = await a
      .select({ child: orders.code, parent: parent.code })
      .from(orders)
      .innerJoin(parent, eq(orders.parentId, parent.id))
      .orderBy(orders.id)
    expect(rows).toEqual([
      { child: 'a-2', parent: 'a-1' },
      { child: 'a-3', parent: 'a-1' },
    ])
    const withLines = a.select({ one: sql`1` }).from(lines).where(eq(lines.orderId, orders.id))
    expect(await a.select({ id: orders.id }).from(orders).where(exists(withLines)).orderBy(orders.id)).toEqual([
      { id: 2 },
      { id: 3 },
    ])
    const counted = await a
      .select({ id: orders.id, n: sql<number>`(select count(*) from ${lines} where ${lines.orderId} = ${orders.id})` })
      .from(orders)
      .where(notInArray(orders.id, a.select({ id: lines.orderId }).from(lines).where(gt(lines.total, 25))))
      .orderBy(orders.id)
    expect(counted).toHaveLength(2)
  })

  it('upsert, with a condition and with what was excluded', async () => {
    const values = [
      { id: 1, code: 'a-1', total: 50 },
      { id: 2, code: 'a-2', total: 1 },
      { id: 4, code: 'a-4', total: 4 },
    ]
    const rows = await a
      .insert(orders)
      .values(values)
      .onConflictDoUpdate({
        target: orders.id,
        set: { total: sql`excluded."total" + ${orders.total}` },
        setWhere: sql`excluded."total" > ${orders.total}`,
      })
      .returning({ id: orders.id, total: orders.total })
    expect(rows.sort((one, other) => one.id - other.id)).toEqual([
      { id: 1, total: 55 },
      { id: 4, total: 4 },
    ])
    await a.insert(orders).values({ id: 9, code: 'a-1' }).onConflictDoNothing({ target: orders.code })
    expect(await a.$count(orders)).toBe(4)
  })

  it('update and delete over other tables, and what they return', async () => {
    const updated = await a
      .update(orders)
      .set({ total: sql`(select sum(${lines.total}) from ${lines} where ${lines.orderId} = ${orders.id})` })
      .where(exists(a.select({ one: sql`1` }).from(lines).where(eq(lines.orderId, orders.id))))
      .returning()
    expect(updated.map(({ id, total }) => [id, total])).toEqual([
      [2, 20],
      [3, 30],
    ])
    const raw = await a.all(
      sql`update ${orders} set "total" = 0 where ${orders.id} = 1 returning ${orders.code} as code`,
    )
    expect(raw).toEqual([{ code: 'a-1' }])
    const gone = await a.all(
      sql`delete from ${orders} where ${orders.id} = 2 returning ${orders.id} as id, (select count(*) from ${lines} where ${lines.orderId} = ${orders.id}) as n`,
    )
    expect(gone).toMatchObject([{ id: 2 }])
    // Foreign keys hold on the connection that writes.
    expect(await a.$count(lines)).toBe(1)
  })

  it('insert from select, set operations, in a table', async () => {
    await a.run(sql`insert into ${lines} (order_id, total) select ${orders.id}, ${orders.total} from ${orders}`)
    expect(await a.$count(lines)).toBe(6)
    const both = await a
      .select({ n: orders.total })
      .from(orders)
      .unionAll(a.select({ n: lines.total }).from(lines))
    expect(both).toHaveLength(9)
    expect(await a.all(sql`select 1 as one where 1 in (select ${orders.id} from ${orders})`)).toEqual([{ one: 1 }])
  })

  it('batch is one transaction, of one tenant', async () => {
    const [inserted, all] = await a.batch([
      a.insert(orders).values({ id: 7, code: 'a-7' }).returning({ id: orders.id }),
      a.select({ id: orders.id }).from(orders).orderBy(orders.id),
    ])
    expect(inserted).toEqual([{ id: 7 }])
    expect(all.map(({ id }) => id)).toEqual([1, 2, 3, 7])
    const failing = a.batch([
      a.insert(orders).values({ id: 8, code: 'a-8' }),
      a.insert(orders).values({ id: 8, code: 'a-8' }),
    ])
    await expect(failing).rejects.toThrow()
    expect(await a.$count(orders)).toBe(4)
    const reads = await a.batch([a.select().from(orders), a.select().from(lines)])
    expect(reads.map((rows) => rows.length)).toEqual([4, 3])
  })

  it('relational queries, one level and two, inside a transaction too', async () => {
    // `schema` and `relations()` are 0.45's way, `defineRelations` 1.0's.
    const define: unknown = Reflect.get(orm, 'defineRelations')
    const tables = { orders, lines }
    const client = rawClient(files, scope) as never
    const options =
      typeof define === 'function'
        ? {
            relations: define(tables, (r: RelationsOf) => ({
              orders: { lines: r.many.lines({ from: r.orders.id, to: r.lines.orderId }) },
            })) as object,
          }
        : {
            schema: {
              ...tables,
              orderRelations: relations(orders, ({ many }) => ({ lines: many(lines) })),
              lineRelations: relations(lines, ({ one }) => ({
                order: one(orders, { fields: [lines.orderId], references: [orders.id] }),
              })),
            },
          }
    const db = drizzle({ client, ...options } as never) as unknown as { query: Queries } & Pick<
      LibSQLDatabase,
      'transaction'
    >
    const found = await db.query.orders.findMany({ with: { lines: true } })
    expect(new Map(found.map(({ code, lines: own }) => [code, own.length]))).toEqual(
      new Map([
        ['a-1', 0],
        ['a-2', 2],
        ['a-3', 1],
      ]),
    )
    const first = await db.transaction((tx) =>
      (tx as unknown as { query: Queries }).query.orders.findMany({ limit: 1 }),
    )
    expect(first).toMatchObject([{ code: 'a-1' }])
  })

  it('values of every type come back as they went', async () => {
    const row = await rawClient(files, scope).execute({
      sql: 'select ? as a, ? as b, ? as c, ? as d, ? as e',
      args: [1, 1.5, 'text "__tenant__"."orders"', null, new Uint8Array([1, 2])],
    })
    expect(row.rows[0]).toMatchObject({ a: 1, b: 1.5, c: 'text "__tenant__"."orders"', d: null })
    expect(new Uint8Array(row.rows[0]?.['e'] as ArrayBuffer)).toEqual(new Uint8Array([1, 2]))
    expect((await rawClient(files, scope).execute('select ? as a', [5])).rows).toMatchObject([{ a: 5 }])
    const [batched] = await rawClient(files, scope).batch([['select ? as a', [6]]])
    expect(batched?.rows).toMatchObject([{ a: 6 }])
  })

  it('parameters that are missing or have names do not end the process, as libsql would', async () => {
    const client = rawClient(files, scope)
    for (const given of [
      'select ? as a',
      { sql: 'select ? as a' },
      ['select ? as a'],
      { sql: 'select ? as a', args: [] },
    ]) {
      expect((await client.execute(given)).rows).toEqual([{ a: null }])
      expect((await client.batch([given]))[0]?.rows).toEqual([{ a: null }])
    }
    expect(await a.all(sql.raw('select ? as a'))).toEqual([{ a: null }])
    for (const args of [{}, { a: 1 }, { 1: 1 }, 'text', 1, null]) {
      expect(await codeOf(() => client.execute({ sql: 'select ? as a', args }))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      const transaction = await client.transaction('write')
      expect(await codeOf(() => transaction.execute('select ? as a', args))).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      await transaction.rollback()
    }
  })

  it('the catalogue, which tells of all tenants, is read only where there is one tenant', async () => {
    for (const table of [
      'sqlite_master',
      'pragma_table_list',
      "'sqlite_schema'",
      'sqlite_sequence',
      `"${scope.namespace}__orders"`,
    ]) {
      const code = await codeOf(() => a.all(sql.raw(`select * from ${table}`)))
      if (strategy === 'prefix') expect(code, table).toBe('TENANCY_ERR_STATEMENT_REFUSED')
      else expect(code, table).not.toBe('TENANCY_ERR_STATEMENT_REFUSED')
    }
  })

  it('unqualified raw SQL is the tenant’s own, or nobody’s', async () => {
    const rows = a.all(sql`select code from orders where id = 1`)
    if (strategy === 'database') expect(await rows).toEqual([{ code: 'a-1' }])
    else await expect(rows).rejects.toThrow()
    await expect(a.all(sql`select * from __tenant__.orders`)).rejects.toThrow()
  })
})
