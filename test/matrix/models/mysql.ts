import { sql } from 'drizzle-orm'
import {
  type AnyMySqlColumn,
  check,
  index,
  int,
  mysqlEnum,
  mysqlTable,
  mysqlView,
  uniqueIndex,
  varchar,
} from 'drizzle-orm/mysql-core'
import type { ModelStatements } from './model.ts'

export const authors = mysqlTable(
  'authors',
  {
    id: int('id').primaryKey(),
    name: varchar('name', { length: 100 }).notNull(),
    mood: mysqlEnum('mood', ['calm', 'busy']).notNull().default('calm'),
    bossId: int('boss_id').references((): AnyMySqlColumn => authors.id),
  },
  (table) => [
    uniqueIndex('authors_name_key').on(table.name),
    check('authors_name_not_empty', sql`${table.name} <> ''`),
  ],
)

export const books = mysqlTable(
  'books',
  {
    id: int('id').primaryKey().autoincrement(),
    authorId: int('author_id')
      .notNull()
      .references(() => authors.id, { onDelete: 'cascade' }),
    title: varchar('title', { length: 100 }).notNull(),
    price: int('price').notNull().default(0),
  },
  (table) => [index('books_author_idx').on(table.authorId), uniqueIndex('books_title_key').on(table.title)],
)

export const cheapBooks = mysqlView('cheap_books', { id: int('id'), title: varchar('title', { length: 100 }) }).as(
  sql`select \`id\`, \`title\` from ${books} where ${books.price} < 10`,
)

/** What drizzle-kit generates for it. */
export const statements: ModelStatements = [
  `CREATE TABLE \`authors\` (
	\`id\` int NOT NULL,
	\`name\` varchar(100) NOT NULL,
	\`mood\` enum('calm','busy') NOT NULL DEFAULT 'calm',
	\`boss_id\` int,
	CONSTRAINT \`authors_id\` PRIMARY KEY(\`id\`),
	CONSTRAINT \`authors_name_key\` UNIQUE(\`name\`),
	CONSTRAINT \`authors_name_not_empty\` CHECK(\`authors\`.\`name\` <> '')
);
`,
  `CREATE TABLE \`books\` (
	\`id\` int AUTO_INCREMENT NOT NULL,
	\`author_id\` int NOT NULL,
	\`title\` varchar(100) NOT NULL,
	\`price\` int NOT NULL DEFAULT 0,
	CONSTRAINT \`books_id\` PRIMARY KEY(\`id\`),
	CONSTRAINT \`books_title_key\` UNIQUE(\`title\`)
);
`,
  'ALTER TABLE `authors` ADD CONSTRAINT `authors_boss_id_authors_id_fk` FOREIGN KEY (`boss_id`) REFERENCES `authors`(`id`) ON DELETE no action ON UPDATE no action;',
  'ALTER TABLE `books` ADD CONSTRAINT `books_author_id_authors_id_fk` FOREIGN KEY (`author_id`) REFERENCES `authors`(`id`) ON DELETE cascade ON UPDATE no action;',
  'CREATE INDEX `books_author_idx` ON `books` (`author_id`);',
  'CREATE ALGORITHM = undefined\nSQL SECURITY definer\nVIEW `cheap_books` AS (select `id`, `title` from `books` where `books`.`price` < 10);',
]
