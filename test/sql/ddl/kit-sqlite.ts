/* What drizzle-kit writes for SQLite, marked as marked.ts says; kit quotes with backticks, which these stand for. */

export const kit031: readonly string[] = [
  `CREATE TABLE «orders» (
	"id" integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	"customer_id" integer NOT NULL,
	"orders" text DEFAULT 'orders' NOT NULL,
	"at" integer DEFAULT (strftime('%s', 'now')),
	"net" integer GENERATED ALWAYS AS (‹orders›."total" * 2) VIRTUAL,
	FOREIGN KEY ("customer_id") REFERENCES «customers»("id") ON UPDATE no action ON DELETE cascade,
	CONSTRAINT ‹orders_total› CHECK(‹orders›."total" >= 0)
);
`,
  'CREATE UNIQUE INDEX ‹orders_key› ON «orders» ("a",lower("b")) WHERE ‹orders›."a" = \'orders\';',
  'CREATE VIEW «open_orders» AS select "id", ‹orders›."total" from «orders» left join «customers» "c" on "c"."id" = ‹orders›."customer_id";',
  'ALTER TABLE «orders» RENAME TO «purchases»;',
  'ALTER TABLE «orders» RENAME COLUMN "a" TO "orders";',
  'ALTER TABLE «orders» DROP COLUMN "a";',
  'ALTER TABLE «orders» ADD "note" text DEFAULT \'orders\' REFERENCES «customers»(id) ON DELETE set null;',
  'ALTER TABLE «orders» ALTER COLUMN "a" TO "a" text NOT NULL REFERENCES «customers»(id);',
  'DROP INDEX «orders_key»;',
  'DROP VIEW «open_orders»;',
  'DROP TABLE «orders»;',
  'PRAGMA foreign_keys=OFF;',
  `CREATE TABLE «__new_orders» (
	"id" integer PRIMARY KEY NOT NULL,
	"parent" integer,
	FOREIGN KEY ("parent") REFERENCES «orders»("id"),
	CONSTRAINT ‹orders_total› CHECK(‹__new_orders›."id" >= 0)
);
`,
  'INSERT INTO «__new_orders»("id", "orders") SELECT "id", "orders" FROM «orders»;',
  'ALTER TABLE «__new_orders» RENAME TO «orders»;',
  'PRAGMA foreign_keys=ON;',
]

export const kit10: readonly string[] = [
  `CREATE TABLE «orders» (
	"id" integer PRIMARY KEY,
	"a" text UNIQUE,
	"b" text CONSTRAINT ‹orders_b› UNIQUE,
	CONSTRAINT ‹orders_pk› PRIMARY KEY("id", "a"),
	CONSTRAINT ‹fk_orders› FOREIGN KEY ("a") REFERENCES «customers»("id") ON DELETE CASCADE,
	CONSTRAINT ‹orders_check› CHECK("a" > 0)
);
`,
  'ALTER TABLE «orders» ADD "c" integer CONSTRAINT ‹fk_c› REFERENCES «customers»(id);',
  'DROP INDEX IF EXISTS «orders_key»;',
]

export const custom: readonly string[] = [
  'INSERT OR REPLACE INTO «orders» ("a") SELECT "x" FROM «old», «older» AS o WHERE o.a IN (SELECT 1 FROM «old») ON CONFLICT ("a") DO UPDATE SET "a" = excluded."a", "b" = ‹orders›."b"',
  'UPDATE OR IGNORE «orders» SET a = 1, b = 2 FROM «lines», «customers» c WHERE ‹lines›."a" = c.a',
  "REPLACE INTO «orders» VALUES (1, 'orders')",
  'DELETE FROM «orders» WHERE EXISTS (SELECT 1 FROM «orders» o WHERE o.id = ‹orders›."id")',
  'WITH o AS (SELECT * FROM «orders») INSERT INTO «lines» SELECT * FROM o, json_each(o.a) j JOIN «lines» l ON l.id = o.id',
  'CREATE TABLE «t» (key text, value text) STRICT, WITHOUT ROWID',
]
