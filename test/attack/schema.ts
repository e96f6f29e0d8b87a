import * as orm from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { integer, pgTable, serial, text } from 'drizzle-orm/pg-core'
import type pg from 'pg'

/** Every row names its tenant: what comes back is checked, not believed. */
export const items = pgTable('items', {
  id: serial('id').primaryKey(),
  owner: text('owner').notNull(),
  ref: text('ref').notNull().unique(),
  n: integer('n').notNull().default(0),
})

/** Children of an item; their foreign key is checked at COMMIT. */
export const parts = pgTable('parts', {
  id: serial('id').primaryKey(),
  itemId: integer('item_id').notNull(),
  owner: text('owner').notNull(),
})

/** Rows that every tenant has from the start and keeps; with the same ids for all, so that a slip finds somebody's. */
export const SEEDED = 3

/** The tables of one tenant, filled. The marker is a name of ours, made of letters and digits. */
export function tenantDdl(marker: string): string[] {
  return [
    `create table items (id serial primary key, owner text not null default '${marker}', ref text not null unique, n integer not null default 0)`,
    `create table parts (id serial primary key, item_id integer not null references items on delete cascade deferrable initially deferred, owner text not null default '${marker}')`,
    `insert into items (ref) select '${marker}-seed-' || i from generate_series(1, ${SEEDED}) i`,
    `insert into parts (item_id) select id from items`,
  ]
}

/** Routines that all tenants share, with unqualified names: PL/pgSQL keeps their plans per connection. */
export const sharedRoutines = `
  set check_function_bodies to off;
  create or replace procedure extensions.add_item(reference text) language plpgsql as $$ begin insert into items (ref) values (reference); end $$;
  create or replace procedure extensions.leaving() language plpgsql as $$ begin commit; insert into items (ref) values ('escaped'); end $$;
  create or replace function extensions.owners() returns setof text language plpgsql as $$ declare r items%rowtype; begin for r in select * from items limit 5 loop return next r.owner; end loop; end $$;
  create or replace function extensions.owner_of(wanted integer) returns text language plpgsql as $$ begin return (select owner from items where id = wanted); end $$;
  create or replace function extensions.owner_sql() returns text language sql as 'select owner from items limit 1';
  grant execute on all functions in schema extensions to public;
  grant execute on all procedures in schema extensions to public;`

/** Drizzle over a driver-shaped client, with its relations in the form that the version under test wants. */
export function databaseOver(client: object) {
  return drizzle({ client: client as pg.Pool, ...relationsOfThisVersion() } as {
    client: pg.Pool
    schema: ReturnType<typeof schemaOf045>
  })
}

/** What {@link databaseOver} gives, in the types of 0.45. */
export type Database = ReturnType<typeof databaseOver>

/** What its transactions give. */
export type Transaction = Parameters<Parameters<Database['transaction']>[0]>[0]

function schemaOf045() {
  const itemRelations = orm.relations(items, ({ many }) => ({ parts: many(parts) }))
  const partRelations = orm.relations(parts, ({ one }) => ({
    item: one(items, { fields: [parts.itemId], references: [items.id] }),
  }))
  return { items, parts, itemRelations, partRelations }
}

function relationsOfThisVersion(): object {
  const { defineRelations } = orm as unknown as {
    defineRelations?: (schema: object, build: (r: Relations1) => object) => object
  }
  if (defineRelations === undefined) return { schema: schemaOf045() }
  const relations = defineRelations({ items, parts }, (r) => ({
    items: { parts: r.many.parts({ from: r.items.id, to: r.parts.itemId }) },
  }))
  return { relations }
}

interface Relations1 {
  readonly many: { parts(keys: { from: unknown; to: unknown }): unknown }
  readonly items: { readonly id: unknown }
  readonly parts: { readonly itemId: unknown }
}
