import { pgEnum, pgSchema, pgTable, pgView, text } from 'drizzle-orm/pg-core'
import { QueryBuilder } from 'drizzle-orm/pg-core'
import { getTableName, sql } from 'drizzle-orm'
import { expect, it } from 'vitest'
import { adoptTables } from '../../src/sql/adopt.ts'

const sqlOf = (query: { toSQL(): { sql: string } }) => query.toSQL().sql
const select = () => new QueryBuilder()

it('[schema-20] makes tables and views speak of the tenant, once, and leaves everything else alone', () => {
  const orders = pgTable('orders', { id: text('id') })
  const open = pgView('open_orders', { id: text('id') }).as(sql`select 1`)
  const plans = pgSchema('shared').table('plans', { id: text('id') })
  const schema = { orders, open, plans, mood: pgEnum('mood', ['ok']), helper: () => 1, nothing: null, n: 7 }
  expect(adoptTables(schema)).toBe(2)
  expect(adoptTables(schema)).toBe(2)
  expect(sqlOf(select().select().from(orders))).toContain('from "__tenant__"."orders"')
  expect(sqlOf(select().select().from(open))).toContain('from "__tenant__"."open_orders"')
  expect(sqlOf(select().select().from(plans))).toContain('from "shared"."plans"')
  expect(getTableName(orders)).toBe('orders')
})

it.each([[undefined], [{}], [{ a: 1, b: () => 2 }]])('refuses a schema without tables: %o', (schema) => {
  expect(() => adoptTables(schema)).toThrow(expect.objectContaining({ code: 'TENANCY_ERR_CONFIG_INVALID' }))
})
