import { sql } from 'drizzle-orm'
import {
  type AnyPgColumn,
  check,
  index,
  integer,
  pgEnum,
  pgTable,
  pgView,
  serial,
  text,
  uniqueIndex,
} from 'drizzle-orm/pg-core'
import type { ModelStatements } from './model.ts'

/** An ordinary schema file: nothing in it knows of tenants. */
export const mood = pgEnum('mood', ['calm', 'busy'])

export const authors = pgTable(
  'authors',
  {
    id: integer('id').primaryKey(),
    name: text('name').notNull(),
    mood: mood('mood').notNull().default('calm'),
    bossId: integer('boss_id').references((): AnyPgColumn => authors.id),
  },
  (table) => [
    uniqueIndex('authors_name_key').on(table.name),
    check('authors_name_not_empty', sql`${table.name} <> ''`),
  ],
)

export const books = pgTable(
  'books',
  {
    id: serial('id').primaryKey(),
    authorId: integer('author_id')
      .notNull()
      .references(() => authors.id, { onDelete: 'cascade' }),
    title: text('title').notNull(),
    price: integer('price').notNull().default(0),
  },
  (table) => [index('books_author_idx').on(table.authorId), uniqueIndex('books_title_key').on(table.title)],
)

export const cheapBooks = pgView('cheap_books', { id: integer('id'), title: text('title') }).as(
  sql`select "id", "title" from ${books} where ${books.price} < 10`,
)

/** What drizzle-kit generates for it. */
export const statements: ModelStatements = [
  `CREATE TYPE "public"."mood" AS ENUM('calm', 'busy');`,
  `CREATE TABLE "authors" (
	"id" integer PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"mood" "mood" DEFAULT 'calm' NOT NULL,
	"boss_id" integer,
	CONSTRAINT "authors_name_not_empty" CHECK ("authors"."name" <> '')
);
`,
  `CREATE TABLE "books" (
	"id" serial PRIMARY KEY NOT NULL,
	"author_id" integer NOT NULL,
	"title" text NOT NULL,
	"price" integer DEFAULT 0 NOT NULL
);
`,
  `ALTER TABLE "authors" ADD CONSTRAINT "authors_boss_id_authors_id_fk" FOREIGN KEY ("boss_id") REFERENCES "public"."authors"("id") ON DELETE no action ON UPDATE no action;`,
  `ALTER TABLE "books" ADD CONSTRAINT "books_author_id_authors_id_fk" FOREIGN KEY ("author_id") REFERENCES "public"."authors"("id") ON DELETE cascade ON UPDATE no action;`,
  `CREATE UNIQUE INDEX "authors_name_key" ON "authors" USING btree ("name");`,
  `CREATE INDEX "books_author_idx" ON "books" USING btree ("author_id");`,
  `CREATE UNIQUE INDEX "books_title_key" ON "books" USING btree ("title");`,
  `CREATE VIEW "public"."cheap_books" AS (select "id", "title" from "books" where "books"."price" < 10);`,
]
