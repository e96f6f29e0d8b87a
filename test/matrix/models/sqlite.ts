import { sql } from 'drizzle-orm'
import {
  type AnySQLiteColumn,
  check,
  index,
  integer,
  sqliteTable,
  sqliteView,
  text,
  uniqueIndex,
} from 'drizzle-orm/sqlite-core'
import type { ModelStatements } from './model.ts'

export const authors = sqliteTable(
  'authors',
  {
    id: integer('id').primaryKey(),
    name: text('name').notNull(),
    mood: text('mood', { enum: ['calm', 'busy'] })
      .notNull()
      .default('calm'),
    bossId: integer('boss_id').references((): AnySQLiteColumn => authors.id),
  },
  (table) => [
    uniqueIndex('authors_name_key').on(table.name),
    check('authors_name_not_empty', sql`${table.name} <> ''`),
  ],
)

export const books = sqliteTable(
  'books',
  {
    id: integer('id').primaryKey({ autoIncrement: true }),
    authorId: integer('author_id')
      .notNull()
      .references(() => authors.id, { onDelete: 'cascade' }),
    title: text('title').notNull(),
    price: integer('price').notNull().default(0),
  },
  (table) => [index('books_author_idx').on(table.authorId), uniqueIndex('books_title_key').on(table.title)],
)

export const cheapBooks = sqliteView('cheap_books', { id: integer('id'), title: text('title') }).as(
  sql`select "id", "title" from ${books} where ${books.price} < 10`,
)

/** What drizzle-kit generates for it. */
export const statements: ModelStatements = [
  `CREATE TABLE \`authors\` (
	\`id\` integer PRIMARY KEY NOT NULL,
	\`name\` text NOT NULL,
	\`mood\` text DEFAULT 'calm' NOT NULL,
	\`boss_id\` integer,
	FOREIGN KEY (\`boss_id\`) REFERENCES \`authors\`(\`id\`) ON UPDATE no action ON DELETE no action,
	CONSTRAINT "authors_name_not_empty" CHECK("authors"."name" <> '')
);
`,
  'CREATE UNIQUE INDEX `authors_name_key` ON `authors` (`name`);',
  `CREATE TABLE \`books\` (
	\`id\` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	\`author_id\` integer NOT NULL,
	\`title\` text NOT NULL,
	\`price\` integer DEFAULT 0 NOT NULL,
	FOREIGN KEY (\`author_id\`) REFERENCES \`authors\`(\`id\`) ON UPDATE no action ON DELETE cascade
);
`,
  'CREATE INDEX `books_author_idx` ON `books` (`author_id`);',
  'CREATE UNIQUE INDEX `books_title_key` ON `books` (`title`);',
  'CREATE VIEW `cheap_books` AS select "id", "title" from "books" where "books"."price" < 10;',
]
