import { integer, pgSchema, pgTable, text } from 'drizzle-orm/pg-core'

/** How many tenants take turns. */
export const TENANTS = 50

/** Enough rows that PostgreSQL looks one up by the index. */
export const ROWS = 1000

/** The table of every tenant. */
export const notes = pgTable('notes', columns())

/** Makes it; the same as in test/bench/migrations. */
export const createNotes = 'create table notes (id integer primary key, tenant text not null, body text not null)'

/** The same table by its full name, for an app without tenancy. */
export function notesIn(namespace: string) {
  return pgSchema(namespace).table('notes', columns())
}

/** Fills the table of one namespace; each row names its owner. */
export function fillNotes(namespace: string, owner: string): string {
  return `insert into "${namespace}".notes select id, '${owner}', 'note ' || id from generate_series(1, ${ROWS}) id;
    analyze "${namespace}".notes`
}

/** Which row the n-th operation asks for. */
export function rowOf(n: number): number {
  return 1 + ((n * 7919) % ROWS)
}

/** The element of a list that is known to be there. */
export function at<T>(list: readonly T[], index: number): T {
  const element = list[index]
  if (element === undefined) throw new Error(`There is no element ${index}.`)
  return element
}

function columns() {
  return { id: integer('id').primaryKey(), tenant: text('tenant').notNull(), body: text('body').notNull() }
}
