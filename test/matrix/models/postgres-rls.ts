import { sql } from 'drizzle-orm'
import {
  check,
  foreignKey,
  index,
  integer,
  pgEnum,
  pgTable,
  pgView,
  primaryKey,
  serial,
  text,
  unique,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core'
import { tenantKeys } from '../../../src/tenant-keys.ts'
import type { ModelStatements } from './model.ts'

/** The same model for tenants that share tables: every key begins with the tenant. */
export const mood = pgEnum('mood', ['calm', 'busy'])

const { tenantId, tenantPrimaryKey, tenantForeignKey } = tenantKeys({ uuid, primaryKey, foreignKey, unique, sql })

export const authors = pgTable(
  'authors',
  {
    tenantId: tenantId(),
    id: integer('id').notNull(),
    name: text('name').notNull(),
    mood: mood('mood').notNull().default('calm'),
    bossId: integer('boss_id'),
  },
  (table) => [
    tenantPrimaryKey(table, { columns: [table.id] }),
    tenantForeignKey(table, { columns: [table.bossId], foreignTable: table, foreignColumns: [table.id] }),
    uniqueIndex('authors_name_key').on(table.tenantId, table.name),
    check('authors_name_not_empty', sql`${table.name} <> ''`),
  ],
)

export const books = pgTable(
  'books',
  {
    tenantId: tenantId(),
    id: serial('id').notNull(),
    authorId: integer('author_id').notNull(),
    title: text('title').notNull(),
    price: integer('price').notNull().default(0),
  },
  (table) => [
    tenantPrimaryKey(table, { columns: [table.id] }),
    tenantForeignKey(table, {
      columns: [table.authorId],
      foreignTable: authors,
      foreignColumns: [authors.id],
    }).onDelete('cascade'),
    index('books_author_idx').on(table.tenantId, table.authorId),
    uniqueIndex('books_title_key').on(table.tenantId, table.title),
  ],
)

export const cheapBooks = pgView('cheap_books', { id: integer('id'), title: text('title') })
  .with({ securityInvoker: true })
  .as(sql`select "id", "title" from ${books} where ${books.price} < 10`)

const TENANT = `"tenant_id" uuid DEFAULT cast(nullif(current_setting('app.current_tenant', true), '') as uuid) NOT NULL`

/** What drizzle-kit generates for it. */
export const statements: ModelStatements = [
  `CREATE TYPE "public"."mood" AS ENUM('calm', 'busy');`,
  `CREATE TABLE "authors" (
	${TENANT},
	"id" integer NOT NULL,
	"name" text NOT NULL,
	"mood" "mood" DEFAULT 'calm' NOT NULL,
	"boss_id" integer,
	CONSTRAINT "authors_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "authors_name_not_empty" CHECK ("authors"."name" <> '')
);
`,
  `CREATE TABLE "books" (
	${TENANT},
	"id" serial NOT NULL,
	"author_id" integer NOT NULL,
	"title" text NOT NULL,
	"price" integer DEFAULT 0 NOT NULL,
	CONSTRAINT "books_tenant_id_id_pk" PRIMARY KEY("tenant_id","id")
);
`,
  `ALTER TABLE "authors" ADD CONSTRAINT "authors_boss_fk" FOREIGN KEY ("tenant_id","boss_id") REFERENCES "public"."authors"("tenant_id","id") ON DELETE no action ON UPDATE no action;`,
  `ALTER TABLE "books" ADD CONSTRAINT "books_author_fk" FOREIGN KEY ("tenant_id","author_id") REFERENCES "public"."authors"("tenant_id","id") ON DELETE cascade ON UPDATE no action;`,
  `CREATE UNIQUE INDEX "authors_name_key" ON "authors" USING btree ("tenant_id","name");`,
  `CREATE INDEX "books_author_idx" ON "books" USING btree ("tenant_id","author_id");`,
  `CREATE UNIQUE INDEX "books_title_key" ON "books" USING btree ("tenant_id","title");`,
  `CREATE VIEW "public"."cheap_books" WITH (security_invoker = true) AS (select "id", "title" from "books" where "books"."price" < 10);`,
]
