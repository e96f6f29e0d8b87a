import { sql } from 'drizzle-orm-v1'
import {
  check,
  foreignKey,
  index,
  int,
  mssqlTable,
  mssqlView,
  nvarchar,
  primaryKey,
  uniqueIndex,
} from 'drizzle-orm-v1/mssql-core'
import type { ModelStatements } from './model.ts'

/** The same model for tenants that share tables: every key begins with the tenant, which the database fills in. */
const tenantId = () =>
  nvarchar('tenant_id', { length: 36 })
    .notNull()
    .default(sql`(cast(session_context(N'app.current_tenant') as nvarchar(36)))`)

export const authors = mssqlTable(
  'authors',
  {
    tenantId: tenantId(),
    id: int('id').notNull(),
    name: nvarchar('name', { length: 100 }).notNull(),
    mood: nvarchar('mood', { length: 10, enum: ['calm', 'busy'] })
      .notNull()
      .default('calm'),
    bossId: int('boss_id'),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    foreignKey({ columns: [table.tenantId, table.bossId], foreignColumns: [table.tenantId, table.id] }),
    uniqueIndex('authors_name_key').on(table.tenantId, table.name),
    check('authors_name_not_empty', sql`${table.name} <> ''`),
  ],
)

export const books = mssqlTable(
  'books',
  {
    tenantId: tenantId(),
    id: int('id').notNull().default(sql`(abs(checksum(newid())))`),
    authorId: int('author_id').notNull(),
    title: nvarchar('title', { length: 100 }).notNull(),
    price: int('price').notNull().default(0),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.id] }),
    foreignKey({
      columns: [table.tenantId, table.authorId],
      foreignColumns: [authors.tenantId, authors.id],
    }).onDelete('cascade'),
    index('books_author_idx').on(table.tenantId, table.authorId),
    uniqueIndex('books_title_key').on(table.tenantId, table.title),
  ],
)

export const cheapBooks = mssqlView('cheap_books', { id: int('id'), title: nvarchar('title', { length: 100 }) }).as(
  sql`select [id], [title] from ${books} where ${books.price} < 10`,
)

const TENANT = (table: string) =>
  `[tenant_id] nvarchar(36) NOT NULL CONSTRAINT [${table}_tenant_id_default] DEFAULT ((cast(session_context(N'app.current_tenant') as nvarchar(36))))`

/** What drizzle-kit generates for it. */
export const statements: ModelStatements = [
  `CREATE TABLE [authors] (
	${TENANT('authors')},
	[id] int NOT NULL,
	[name] nvarchar(100) NOT NULL,
	[mood] nvarchar(10) NOT NULL CONSTRAINT [authors_mood_default] DEFAULT ('calm'),
	[boss_id] int,
	CONSTRAINT [authors_pkey] PRIMARY KEY([tenant_id],[id]),
	CONSTRAINT [authors_name_not_empty] CHECK ([authors].[name] <> '')
);
`,
  `CREATE TABLE [books] (
	${TENANT('books')},
	[id] int NOT NULL CONSTRAINT [books_id_default] DEFAULT ((abs(checksum(newid())))),
	[author_id] int NOT NULL,
	[title] nvarchar(100) NOT NULL,
	[price] int NOT NULL CONSTRAINT [books_price_default] DEFAULT ((0)),
	CONSTRAINT [books_pkey] PRIMARY KEY([tenant_id],[id])
);
`,
  'ALTER TABLE [authors] ADD CONSTRAINT [authors_boss_fk] FOREIGN KEY ([tenant_id],[boss_id]) REFERENCES [authors]([tenant_id],[id]);',
  'ALTER TABLE [books] ADD CONSTRAINT [books_author_fk] FOREIGN KEY ([tenant_id],[author_id]) REFERENCES [authors]([tenant_id],[id]) ON DELETE CASCADE;',
  'CREATE UNIQUE INDEX [authors_name_key] ON [authors] ([tenant_id],[name]);',
  'CREATE INDEX [books_author_idx] ON [books] ([tenant_id],[author_id]);',
  'CREATE UNIQUE INDEX [books_title_key] ON [books] ([tenant_id],[title]);',
  'CREATE VIEW [cheap_books] AS select [id], [title] from [books] where [books].[price] < 10;',
]
