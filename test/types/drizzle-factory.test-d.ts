// Compiled twice: `drizzle-orm` is 0.45 in test/tsconfig.json and 1.0 in test/tsconfig.v1.json.
import type { PGlite } from '@electric-sql/pglite'
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres'
import { pgTable, text } from 'drizzle-orm/pg-core'
import { drizzle as drizzlePglite } from 'drizzle-orm/pglite'
import { defineRelations } from 'drizzle-orm-v1'
import { drizzle as drizzlePgV1 } from 'drizzle-orm-v1/node-postgres'
import { pgTable as pgTableV1, text as textV1 } from 'drizzle-orm-v1/pg-core'
import { drizzle as drizzlePgliteV1 } from 'drizzle-orm-v1/pglite'
import type { Pool } from 'pg'
import type { DrizzleFactory, TenancyOptions } from '../../src/config.ts'

const orders = pgTable('orders', { id: text().primaryKey() })
// Spread into the call, because 1.0 has no `schema` and refuses a literal one.
const tables = { schema: { orders } }
const relations = defineRelations({ orders: pgTableV1('orders', { id: textV1().primaryKey() }) })

/** The README's form, for both drivers, without a cast. */
export const pg: TenancyOptions = { drizzle: (client) => drizzlePg({ client }) }
export const pglite: TenancyOptions = { drizzle: (client) => drizzlePglite({ client }) }
export const pgTables: TenancyOptions = { drizzle: (client) => drizzlePg({ client, ...tables }) }
export const pgliteTables: TenancyOptions = { drizzle: (client) => drizzlePglite({ client, ...tables }) }
export const pgRelations: TenancyOptions = { drizzle: (client) => drizzlePgV1({ client, relations }) }
export const pgliteRelations: TenancyOptions = { drizzle: (client) => drizzlePgliteV1({ client, relations }) }

/** Who writes the type of the client is understood too. */
export const annotatedPg: DrizzleFactory = (client: Pool) => drizzlePg({ client })
export const annotatedPglite: DrizzleFactory = (client: PGlite) => drizzlePglite({ client })

/** The context names the tenant, or nobody. */
export const logged: DrizzleFactory = (client, { tenant }) => drizzlePg({ client, logger: tenant?.identifier === 'a' })

/** What a factory returns keeps its tables. */
const factory = (client: never) => drizzlePgV1({ client, relations })
export const rows = (db: ReturnType<typeof factory>): Promise<{ id: string } | undefined> => db.query.orders.findFirst()

// @ts-expect-error a factory returns a database
export const nothing: DrizzleFactory = () => undefined
// @ts-expect-error nobody can reach into the client
export const meddling: DrizzleFactory = (client) => client.query('select 1')
// @ts-expect-error the tenant may be null
export const careless: DrizzleFactory = (client, { tenant }) => drizzlePg({ client, logger: tenant.id === '' })
