/* What drizzle-kit 1.0 writes for SQL Server, marked as marked.ts says; 0.31 has no SQL Server. */

export const kit031: readonly string[] = []

export const kit10: readonly string[] = [
  `CREATE TABLE «customers» (
	[id] int IDENTITY(1, 1),
	[email] nvarchar(100) NOT NULL,
	CONSTRAINT ‹customers_pkey› PRIMARY KEY([id]),
	CONSTRAINT ‹customers_email_key› UNIQUE([email])
);
`,
  `CREATE TABLE «orders» (
	[id] int IDENTITY(1, 1),
	[customer_id] int NOT NULL,
	[orders] nvarchar(255) NOT NULL CONSTRAINT ‹orders_orders_default› DEFAULT ('it''s [orders]'),
	[total] decimal(12,2) NOT NULL CONSTRAINT ‹orders_total_default› DEFAULT ((0)),
	[paid] bit CONSTRAINT ‹orders_paid_default› DEFAULT ((0)),
	[at] datetime2 CONSTRAINT ‹orders_at_default› DEFAULT (getdate()),
	[net]  AS ([total] * 2) PERSISTED,
	[parent] int,
	[rnd] int CONSTRAINT ‹orders_rnd_default› DEFAULT (abs(checksum(newid()))),
	CONSTRAINT ‹orders_pkey› PRIMARY KEY([id],[customer_id]),
	CONSTRAINT ‹orders_parent› UNIQUE([parent],[total]),
	CONSTRAINT ‹orders_total_positive› CHECK (‹orders›.[total] >= 0 and ‹orders›.[orders] <> 'orders')
);
`,
  'ALTER TABLE «orders» ADD CONSTRAINT ‹orders_customer_id_customers_id_fk› FOREIGN KEY ([customer_id]) REFERENCES «customers»([id]) ON DELETE CASCADE ON UPDATE SET NULL;',
  'ALTER TABLE «orders» ADD CONSTRAINT ‹orders_parent_orders_id_fk› FOREIGN KEY ([parent]) REFERENCES «orders»([id]) ON DELETE SET DEFAULT;',
  'CREATE INDEX ‹orders_idx› ON «orders» ([customer_id],[total]);',
  'CREATE UNIQUE INDEX ‹orders_uq› ON «orders» ([total]) WHERE [total] > 1;',
  'CREATE VIEW «open_orders» AS select ‹orders›.[id], ‹customers›.[email] from «orders» inner join «customers» on ‹customers›.[id] = ‹orders›.[customer_id];',
  'CREATE VIEW «v2»\nWITH ENCRYPTION, SCHEMABINDING, VIEW_METADATA AS select ‹orders›.[id] from «orders»\nWITH CHECK OPTION;',
  'ALTER VIEW «v2»\nWITH SCHEMABINDING AS (select [o].[id] from «orders» [o]);',
  'ALTER VIEW «v2» AS select [id] from «orders»\nWITH CHECK OPTION;',
  "ALTER TABLE «orders» ADD [note] nvarchar(20) NOT NULL CONSTRAINT ‹orders_note_default› DEFAULT (N'orders');",
  'ALTER TABLE «orders» ADD [twice] AS ([total] * 2) PERSISTED;',
  'ALTER TABLE «orders» ADD [big] bigint IDENTITY(1, 1);',
  'ALTER TABLE «orders» ALTER COLUMN [note] nvarchar(30) NOT NULL;',
  'ALTER TABLE «orders» DROP COLUMN [note];',
  'ALTER TABLE «orders» ADD CONSTRAINT ‹orders_paid_default› DEFAULT ((1)) FOR [paid];',
  'ALTER TABLE «orders» DROP CONSTRAINT ‹orders_paid_default›;',
  'ALTER TABLE «orders» ADD CONSTRAINT ‹orders_pkey› PRIMARY KEY ([id],[a]);',
  'ALTER TABLE «orders» ADD CONSTRAINT ‹orders_parent› UNIQUE([parent],[total]);',
  'ALTER TABLE «orders» ADD CONSTRAINT ‹orders_total_positive› CHECK (‹orders›.[total] > 0);',
  'INSERT INTO «orders» ([id]) SELECT [__old_id] FROM «orders»;',
  'DROP INDEX ‹orders_idx› ON «orders»;',
  'DROP VIEW «open_orders»;',
  'DROP TABLE «orders»;',
]

export const custom: readonly string[] = [
  "INSERT INTO «orders» ([id], \"orders\") VALUES (1, N'orders'), (2, 'it''s [orders]')",
  "UPDATE «orders» SET [total] += 1, ‹orders›.[orders] = N'[orders]' FROM «customers» [c] WHERE [c].[id] = ‹orders›.[customer_id]",
  'DELETE FROM «orders» WHERE ‹orders›.[id] IN (SELECT TOP (5) [id] FROM «customers» ORDER BY [id])',
  'WITH c AS (SELECT ‹orders›.[id] FROM «orders») INSERT INTO «lines» ([n]) SELECT c.id FROM c',
  'CREATE VIEW «v» AS SELECT [o].[id] FROM «orders» AS [o] WITH (NOLOCK) CROSS APPLY (SELECT TOP 1 ‹lines›.[n] FROM «lines» WHERE ‹lines›.[o] = [o].[id]) [l] OUTER APPLY «customers» [k]',
  'CREATE UNIQUE NONCLUSTERED INDEX ‹i› ON «orders» ([a] DESC) INCLUDE ([b]) WITH (FILLFACTOR = 80)',
  'DROP TABLE IF EXISTS «orders», «lines»',
  'TRUNCATE TABLE «orders»',
  'CREATE TABLE «a]b» ([x]]y] int, "q" int REFERENCES «c"d»([id]), /* [a] /* nested */ [a] */ [z] int) -- [a]',
]

/** Renames are procedure calls with names in strings: from, then what becomes of it under `shared` and `t1__`. */
export const renames: readonly (readonly [migration: string, written: string])[] = [
  ["EXEC sp_rename 'orders', [purchases];", "EXEC sp_rename N'[shared].[t1__orders]', N't1__purchases';"],
  [
    "EXEC sp_rename 'orders.total', [sum], 'COLUMN';",
    "EXEC sp_rename N'[shared].[t1__orders].[total]', N'sum', 'COLUMN';",
  ],
  ["EXEC sp_rename 'orders.i', [j], 'INDEX';", "EXEC sp_rename N'[shared].[t1__orders].[t1__i]', N't1__j', 'INDEX';"],
  [
    "EXEC sp_rename 'orders_pkey', [pk], 'OBJECT';",
    "EXEC sp_rename N'[shared].[t1__orders_pkey]', N't1__pk', 'OBJECT';",
  ],
  [
    "execute sp_rename N'dbo.orders', N'it''s', N'OBJECT'",
    "execute sp_rename N'[shared].[t1__orders]', N't1__it''s', N'OBJECT'",
  ],
  ["EXEC sp_rename '[it''s].[a.b]', 'c', 'column'", "EXEC sp_rename N'[shared].[t1__it''s].[a.b]', N'c', 'column'"],
]
