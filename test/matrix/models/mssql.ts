import { sql } from 'drizzle-orm-v1'
import {
  type AnyMsSqlColumn,
  check,
  index,
  int,
  mssqlTable,
  mssqlView,
  nvarchar,
  uniqueIndex,
} from 'drizzle-orm-v1/mssql-core'
import type { ModelStatements } from './model.ts'

export const authors = mssqlTable(
  'authors',
  {
    id: int('id').primaryKey(),
    name: nvarchar('name', { length: 100 }).notNull(),
    mood: nvarchar('mood', { length: 10, enum: ['calm', 'busy'] })
      .notNull()
      .default('calm'),
    bossId: int('boss_id').references((): AnyMsSqlColumn => authors.id),
  },
  (table) => [
    uniqueIndex('authors_name_key').on(table.name),
    check('authors_name_not_empty', sql`${table.name} <> ''`),
  ],
)

/** An identity column would take no id that the tests give. */
export const books = mssqlTable(
  'books',
  {
    id: int('id').primaryKey().default(sql`(abs(checksum(newid())))`),
    authorId: int('author_id')
      .notNull()
      .references(() => authors.id, { onDelete: 'cascade' }),
    title: nvarchar('title', { length: 100 }).notNull(),
    price: int('price').notNull().default(0),
  },
  (table) => [index('books_author_idx').on(table.authorId), uniqueIndex('books_title_key').on(table.title)],
)

export const cheapBooks = mssqlView('cheap_books', { id: int('id'), title: nvarchar('title', { length: 100 }) }).as(
  sql`select [id], [title] from ${books} where ${books.price} < 10`,
)

/** What drizzle-kit generates for it. */
export const statements: ModelStatements = [
  `CREATE TABLE [authors] (
	[id] int,
	[name] nvarchar(100) NOT NULL,
	[mood] nvarchar(10) NOT NULL CONSTRAINT [authors_mood_default] DEFAULT ('calm'),
	[boss_id] int,
	CONSTRAINT [authors_pkey] PRIMARY KEY([id]),
	CONSTRAINT [authors_name_not_empty] CHECK ([authors].[name] <> '')
);
`,
  `CREATE TABLE [books] (
	[id] int CONSTRAINT [books_id_default] DEFAULT ((abs(checksum(newid())))),
	[author_id] int NOT NULL,
	[title] nvarchar(100) NOT NULL,
	[price] int NOT NULL CONSTRAINT [books_price_default] DEFAULT ((0)),
	CONSTRAINT [books_pkey] PRIMARY KEY([id])
);
`,
  'ALTER TABLE [authors] ADD CONSTRAINT [authors_boss_id_authors_id_fk] FOREIGN KEY ([boss_id]) REFERENCES [authors]([id]);',
  'ALTER TABLE [books] ADD CONSTRAINT [books_author_id_authors_id_fk] FOREIGN KEY ([author_id]) REFERENCES [authors]([id]) ON DELETE CASCADE;',
  'CREATE UNIQUE INDEX [authors_name_key] ON [authors] ([name]);',
  'CREATE INDEX [books_author_idx] ON [books] ([author_id]);',
  'CREATE UNIQUE INDEX [books_title_key] ON [books] ([title]);',
  'CREATE VIEW [cheap_books] AS select [id], [title] from [books] where [books].[price] < 10;',
]
