import { index, integer, pgTable, text } from 'drizzle-orm/pg-core'

/** An ordinary Drizzle table: no tenant column, no schema. */
export const orders = pgTable(
  'orders',
  {
    id: integer('id').primaryKey().generatedAlwaysAsIdentity(),
    article: text('article').notNull(),
    quantity: integer('quantity').notNull().default(1),
  },
  (table) => [index('orders_article_idx').on(table.article)],
)
