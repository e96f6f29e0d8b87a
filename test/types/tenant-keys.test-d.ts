// Compiled twice, with drizzle-orm 0.45 and 1.0.
import { sql } from 'drizzle-orm'
import {
  bigint,
  foreignKey,
  integer,
  pgTable,
  primaryKey,
  serial,
  text,
  unique,
  uuid,
  varchar,
} from 'drizzle-orm/pg-core'
import { expectTypeOf } from 'vitest'
import { tenantKeys } from '../../src/tenant-keys.ts'

const functions = { primaryKey, foreignKey, unique, sql }
const { tenantId, tenantPrimaryKey, tenantForeignKey, tenantUnique } = tenantKeys({ uuid, ...functions })

export const customers = pgTable(
  'customers',
  { tenantId: tenantId(), id: serial().notNull(), email: text(), bossId: integer('boss_id') },
  (t) => [
    tenantPrimaryKey(t, { columns: [t.id] }),
    tenantUnique(t).on(t.email).nullsNotDistinct(),
    tenantForeignKey(t, { name: 'boss', columns: [t.bossId], foreignTable: t, foreignColumns: [t.id] }).onDelete(
      'cascade',
    ),
  ],
)
export const orders = pgTable(
  'orders',
  { tenantId: tenantId(), number: integer().notNull(), year: integer().notNull(), customerId: integer().notNull() },
  (t) => [
    tenantPrimaryKey(t, { name: 'orders_key', columns: [t.year, t.number] }),
    tenantForeignKey(t, { columns: [t.customerId], foreignTable: customers, foreignColumns: [customers.id] }),
    tenantForeignKey(t, {
      columns: [t.customerId],
      foreignTable: customers,
      // @ts-expect-error as many on this side as on the other
      foreignColumns: [customers.id, customers.email],
    }),
    // @ts-expect-error a key has a column of its own
    tenantPrimaryKey(t, { columns: [] }),
    // @ts-expect-error columns, not names
    tenantUnique(t).on('number'),
  ],
)

// Nobody has to write the tenant, and everybody can read it.
expectTypeOf<typeof orders.$inferSelect>().toEqualTypeOf<{
  tenantId: string
  number: number
  year: number
  customerId: number
}>()
expectTypeOf<typeof orders.$inferInsert>().toEqualTypeOf<{
  tenantId?: string | undefined
  number: number
  year: number
  customerId: number
}>()
expectTypeOf<typeof customers.$inferInsert>().toEqualTypeOf<{
  tenantId?: string | undefined
  id?: number | undefined
  email?: string | null | undefined
  bossId?: number | null | undefined
}>()

/** The type of the tenant is that of the column function, whichever it is. */
const tableOf = {
  text: pgTable('a', { tenantId: tenantKeys({ text, ...functions }).tenantId() }),
  integer: pgTable('b', { tenantId: tenantKeys({ integer, ...functions, tenantColumn: 'customer' }).tenantId() }),
  bigint: pgTable('c', {
    tenantId: tenantKeys({ bigint: (name) => bigint(name, { mode: 'bigint' }), ...functions }).tenantId(),
  }),
  varchar: pgTable('d', {
    tenantId: tenantKeys({ varchar: (name) => varchar(name, { length: 40 }), ...functions }).tenantId(),
  }),
}
expectTypeOf<typeof tableOf.text.$inferSelect>().toEqualTypeOf<{ tenantId: string }>()
expectTypeOf<typeof tableOf.integer.$inferSelect>().toEqualTypeOf<{ tenantId: number }>()
expectTypeOf<typeof tableOf.integer.$inferInsert>().toEqualTypeOf<{ tenantId?: number | undefined }>()
expectTypeOf<typeof tableOf.bigint.$inferSelect>().toEqualTypeOf<{ tenantId: bigint }>()
expectTypeOf<typeof tableOf.varchar.$inferSelect>().toEqualTypeOf<{ tenantId: string }>()

/** Refuses what makes no tenant column, and keys of tables that have none. */
export function refused(): void {
  // @ts-expect-error no type
  tenantKeys(functions)
  // @ts-expect-error two types
  tenantKeys({ uuid, text, ...functions })
  // @ts-expect-error not Drizzle's
  tenantKeys({ uuid: () => 'tenant_id', ...functions })
  // @ts-expect-error a type that a tenant column cannot have
  tenantKeys({ serial, ...functions })
  const plans = pgTable('plans', { id: serial() }, (t) => [
    // @ts-expect-error no tenant here
    tenantPrimaryKey(t, { columns: [t.id] }),
  ])
  pgTable('orders', { tenantId: tenantId(), plan: integer() }, (t) => [
    // @ts-expect-error no tenant there
    tenantForeignKey(t, { columns: [t.plan], foreignTable: plans, foreignColumns: [plans.id] }),
  ])
}
