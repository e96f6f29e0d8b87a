/* What drizzle-kit writes for MySQL, marked as marked.ts says: 0.31 first, then 1.0. */

export const kit031: readonly string[] = [
  `CREATE TABLE «orders» (
	\`id\` int AUTO_INCREMENT NOT NULL,
	\`customer_id\` bigint unsigned NOT NULL,
	\`orders\` varchar(255) DEFAULT 'orders' NOT NULL,
	\`status\` enum('open','orders') NOT NULL DEFAULT 'open',
	\`net\` int GENERATED ALWAYS AS (‹orders›.\`total\` * 2) STORED,
	\`at\` timestamp DEFAULT (now()) ON UPDATE CURRENT_TIMESTAMP,
	\`total\` decimal(12,2) NOT NULL DEFAULT '0',
	CONSTRAINT ‹orders_id› PRIMARY KEY(\`id\`),
	CONSTRAINT ‹orders_reference_unique› UNIQUE(\`reference\`),
	CONSTRAINT ‹orders_total_not_negative› CHECK(‹orders›.\`total\` >= 0 and ‹orders›.\`status\` <> "orders")
);
`,
  'ALTER TABLE «orders» ADD CONSTRAINT ‹orders_customer_id_customers_id_fk› FOREIGN KEY (`customer_id`) REFERENCES «customers»(`id`) ON DELETE cascade ON UPDATE no action;',
  'CREATE INDEX ‹orders_open_idx› ON «orders» (`customer_id`,(lower(‹orders›.`note`)));',
  'CREATE UNIQUE INDEX ‹orders_key› ON «orders» (`a`);',
  'CREATE OR REPLACE ALGORITHM = merge\nSQL SECURITY invoker\nVIEW «open_orders» AS (select ‹orders›.`id`, `o`.`total` from «orders» inner join «orders» `o` on ‹orders›.`id` = `o`.`id`)\nWITH cascaded CHECK OPTION;',
  'ALTER ALGORITHM = undefined\nSQL SECURITY definer\nVIEW «open_orders» AS select `id` from «orders»;',
  'RENAME TABLE «orders» TO «purchases»;',
  'ALTER TABLE «orders» RENAME COLUMN `a` TO `b`;',
  'ALTER TABLE «orders» DROP COLUMN `a`;',
  'ALTER TABLE «orders» ADD `note` text NOT NULL;',
  "ALTER TABLE «orders» MODIFY COLUMN `note` varchar(10) NOT NULL DEFAULT 'orders';",
  "ALTER TABLE «orders» ALTER COLUMN `note` SET DEFAULT 'orders';",
  'ALTER TABLE «orders» ALTER COLUMN `note` DROP DEFAULT;',
  'ALTER TABLE «orders» DROP INDEX ‹orders_reference_unique›;',
  'ALTER TABLE «orders» DROP FOREIGN KEY ‹orders_customer_id_customers_id_fk›;\n',
  'ALTER TABLE «orders» DROP CONSTRAINT ‹orders_total_not_negative›;',
  'ALTER TABLE «orders» DROP PRIMARY KEY, ADD PRIMARY KEY(`id`,`a`);',
  'ALTER TABLE «orders» DROP PRIMARY KEY',
  'ALTER TABLE «orders» drop column `net`;',
  'DROP INDEX ‹orders_open_idx› ON «orders»;',
  'DROP VIEW «open_orders»;',
  'DROP TABLE «orders»;',
]

export const kit10: readonly string[] = [
  `CREATE TABLE «orders» (
	\`id\` int AUTO_INCREMENT PRIMARY KEY,
	\`name\` varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	CONSTRAINT PRIMARY KEY(\`id\`,\`name\`),
	CONSTRAINT ‹orders_name› UNIQUE INDEX(\`name\`),
	CONSTRAINT ‹orders_expr› UNIQUE INDEX((lower(\`name\`))),
	CONSTRAINT ‹orders_fk› FOREIGN KEY (\`id\`) REFERENCES «customers»(\`id\`),
	CONSTRAINT ‹orders_check› CHECK(\`id\` > 0)
);
`,
  'ALTER TABLE «orders» DROP CONSTRAINT ‹orders_fk›;',
  'DROP INDEX ‹orders_fk› ON «orders»',
  'CREATE ALGORITHM = undefined SQL SECURITY definer VIEW «v» AS (select * from «orders») WITH local CHECK OPTION;',
  'ALTER TABLE «orders» ADD CONSTRAINT ‹orders_check› CHECK (`id` > 0);',
]

export const custom: readonly string[] = [
  "INSERT IGNORE INTO «orders» (`id`, `orders`) VALUES (1, \"orders\"), (2, 'it\\'s `orders`') AS new(a, b) ON DUPLICATE KEY UPDATE `id` = new.a, `x` = VALUES(`x`)",
  'INSERT INTO «orders» SET a = 1, b = 2',
  'REPLACE INTO «orders» SELECT * FROM «customers», «lines» `l` WHERE ‹customers›.`id` = l.id ON DUPLICATE KEY UPDATE a = 1, b = 2',
  'UPDATE «orders» o, «lines» JOIN «customers» c USING (id) SET o.a = 1, ‹lines›.`b` = 2 WHERE o.id = c.id',
  'DELETE FROM «orders» WHERE id IN (SELECT id FROM «lines») ORDER BY a, b LIMIT 1',
  'ALTER TABLE «orders» RENAME TO «purchases»',
  'ALTER TABLE «orders» RENAME «purchases»',
  'ALTER TABLE «orders» CHANGE `a` `b` int, ADD INDEX ‹i› (`a`), DROP KEY ‹k›, RENAME INDEX ‹a› TO ‹b›, ADD UNIQUE KEY ‹u› (`a`), ADD FULLTEXT INDEX ‹f› (`t`)',
  'CREATE TABLE «orders» (`id` int, KEY ‹k› (`id`), UNIQUE KEY ‹u› (`id`), INDEX (`id`), FULLTEXT KEY ‹f› (`t`), `t` text COMMENT "orders") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin COMMENT=\'orders\' AUTO_INCREMENT=3',
  'RENAME TABLE «a» TO «b», «c» TO «d»',
  'DROP TABLE IF EXISTS «a», «b»',
  'TRUNCATE «orders»',
  '# `orders`\nDROP TABLE «orders» -- `orders`',
  "SELECT * FROM JSON_TABLE('[]', '$[*]' COLUMNS (a int PATH '$.a')) AS jt, «orders» WHERE MATCH(a) AGAINST ('x' IN BOOLEAN MODE)",
]
