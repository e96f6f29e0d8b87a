import { describe, expect, it } from 'vitest'
import { mssqlProfile, mysqlProfile, postgresProfile, sqliteProfile } from '../profiles.ts'
import { rendered } from './marked.ts'

const naming = { qualifier: ['s'], prefix: 't1__' }

const everywhere = [
  '',
  'CREATE TABLE other.a (id int)',
  'CREATE TABLE a.b.c (id int)',
  'ALTER TABLE a ADD CONSTRAINT fk FOREIGN KEY (b) REFERENCES other.b(id)',
  'ALTER TABLE a ADD b int REFERENCES other.b(id)',
  'ALTER TABLE other.a ADD b int',
  'ALTER TABLE a RENAME TO other.b',
  'DROP TABLE a, other.b',
  'DROP VIEW other.v',
  'DROP INDEX other.i',
  'CREATE INDEX other.i ON a (b)',
  'CREATE INDEX i ON other.a (b)',
  'CREATE INDEX i ON a (b) WHERE other.b > 1',
  'CREATE TABLE a (id int, CHECK (other.id > 0))',
  'CREATE TABLE a (id int DEFAULT (other.f()))',
  'CREATE VIEW v AS SELECT * FROM other.secrets',
  'CREATE VIEW v AS SELECT z.id FROM a',
  'CREATE VIEW v AS SELECT other.a.id FROM a',
  'CREATE VIEW v AS SELECT id FROM a, other.b',
  'CREATE VIEW v AS SELECT id FROM a JOIN other.b ON true',
  'CREATE VIEW v AS SELECT id FROM a UNION SELECT id FROM other.b',
  'CREATE VIEW v AS SELECT (SELECT id FROM other.b) FROM a',
  'CREATE VIEW v AS SELECT id FROM (SELECT id FROM other.b) b',
  'CREATE VIEW v AS WITH w AS (SELECT * FROM other.b) SELECT * FROM w',
  'CREATE VIEW v AS TABLE a',
  'INSERT INTO other.a VALUES (1)',
  'INSERT INTO a SELECT * FROM other.b',
  'UPDATE other.a SET b = 1',
  'UPDATE a SET b = (SELECT c FROM other.b)',
  'UPDATE a SET b = 1 WHERE c IN (SELECT c FROM other.b)',
  'DELETE FROM other.a',
  'DELETE a FROM a JOIN b ON true',
  'TRUNCATE TABLE other.a',
  // What one name means must be clear.
  'SELECT orders.id FROM orders WHERE EXISTS (SELECT 1 FROM items orders WHERE orders.id = 1)',
  'WITH orders AS (SELECT * FROM orders) SELECT * FROM orders',
  'SELECT a.b FROM a x',
  'SELECT * FROM a WHERE b IN c',
  'SELECT * INTO b FROM a',
  'SELECT * FROM a FOR UPDATE OF a',
  "SELECT load_extension('x')",
  // Control, rights, sessions, routines, other databases.
  'BEGIN',
  'COMMIT',
  'ROLLBACK',
  'SAVEPOINT x',
  'START TRANSACTION',
  'USE other',
  'SET FOREIGN_KEY_CHECKS = 0',
  'SET search_path TO x',
  'GRANT ALL ON a TO b',
  'REVOKE ALL ON a FROM b',
  'CREATE USER x',
  'CREATE ROLE x',
  'CREATE DATABASE x',
  'DROP DATABASE x',
  'CREATE SCHEMA x',
  'DROP SCHEMA x CASCADE',
  'CREATE EXTENSION citext',
  'CREATE FUNCTION f() RETURNS int RETURN 1',
  'CREATE PROCEDURE p() SELECT 1',
  'CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.a = 1',
  'CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET c = 1; END',
  'CREATE EVENT e ON SCHEDULE EVERY 1 HOUR DO DELETE FROM a',
  'CREATE TEMPORARY TABLE a (id int)',
  'CREATE TEMP TABLE a (id int)',
  'CREATE TABLE a LIKE b',
  'CREATE TABLE a (LIKE b)',
  'CALL p()',
  'EXECUTE x',
  'PREPARE x FROM y',
  'DELIMITER //',
  "LOAD DATA INFILE 'x' INTO TABLE a",
  "COPY a FROM '/etc/passwd'",
  "ATTACH 'x.db' AS other",
  'DETACH other',
  'VACUUM',
  'LOCK TABLES a READ',
  'EXPLAIN SELECT 1',
  'MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE',
  'HANDLER a OPEN',
  'ANALYZE a',
  'PRAGMA writable_schema = ON',
  'CREATE VIRTUAL TABLE a USING fts5(b)',
  'ALTER TABLE a OWNER TO b',
  'ALTER TABLE a SET SCHEMA b',
  'ALTER TABLE a ATTACH PARTITION b DEFAULT',
  'ALTER TABLE a INHERIT b',
  'CREATE TABLE a (x int) INHERITS (b)',
  'CREATE TABLE a PARTITION OF b DEFAULT',
  'CREATE TABLE a (x int) TABLESPACE y',
  'CREATE TABLE a (x int) ENGINE=FEDERATED',
  'CREATE TABLE a (x int) ENGINE=MERGE UNION=(b,c)',
  "CREATE TABLE a (x int) CONNECTION='mysql://x'",
  "CREATE TABLE a (x int) DATA DIRECTORY='/x'",
  'SELECT 2fa.x FROM 2fa',
  `CREATE TABLE a (x text DEFAULT 'not closed`,
  'CREATE TABLE a (x int /* not closed',
  'CREATE TABLE a (x int',
  'CREATE TABLE a (x int))',
  'DROP TABLE a\0b',
  'SELECT 1; DROP TABLE other.a',
  'SELECT 1; COMMIT',
]

describe.each([
  ['PostgreSQL', postgresProfile],
  ['MySQL', mysqlProfile],
  ['SQLite', sqliteProfile],
  ['SQL Server', mssqlProfile],
] as const)('%s refuses', (_, profile) => {
  it.each(everywhere.filter((sql) => sql !== ''))('%j', (sql) => {
    expect(rendered(sql, naming, profile)).toMatch(/^refused: ./)
  })
})

describe('PostgreSQL refuses', () => {
  it.each([
    `CREATE TABLE a (x "other"."mood")`,
    `CREATE TABLE a (x int DEFAULT '1'::other.mood)`,
    `SELECT CAST('a' AS other.mood)`,
    `SELECT "mood" 'a' FROM a`,
    `SELECT nextval('other.q')`,
    `SELECT nextval('q' || 'x')`,
    `SELECT nextval(E'q')`,
    `SELECT nextval(x) FROM a`,
    `SELECT nextval('q''')`,
    `SELECT nextval('a b')`,
    `SELECT 'other.a'::regclass`,
    `SELECT 'f'::regproc`,
    `SELECT regclass 'a'`,
    `SELECT CAST('a' AS regclass)`,
    `SELECT to_regclass('a')`,
    `SELECT query_to_xml('select 1', true, true, '')`,
    `SELECT set_config('search_path', 'x', false)`,
    `SELECT U&"a" FROM b`,
    'DO $$ BEGIN DROP TABLE a; END $$',
    'DO $$ BEGIN EXECUTE x; EXCEPTION WHEN duplicate_object THEN null; END $$',
    'DO $$ BEGIN CREATE TABLE other.a (id int); EXCEPTION WHEN duplicate_object THEN null; END $$',
    'DO LANGUAGE plpgsql $$ BEGIN END $$',
    'CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$',
    'CREATE TRIGGER t BEFORE INSERT ON a EXECUTE FUNCTION f()',
    'ALTER SEQUENCE q OWNED BY other.a.id',
    'ALTER SEQUENCE q SET SCHEMA x',
    'ALTER TYPE mood SET SCHEMA x',
    'ALTER TYPE mood OWNER TO x',
    'ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO x',
    'COMMENT ON COLUMN other.a.b IS NULL',
    'COMMENT ON SCHEMA a IS NULL',
    'CREATE TYPE a AS RANGE (subtype = float8)',
    'SELECT * FROM ONLY other.a',
    'SELECT a.* FROM public.b',
    'CREATE FOREIGN TABLE a (x int) SERVER s',
    'ALTER TABLE ALL IN TABLESPACE x SET TABLESPACE y',
    'TABLE a',
    'VALUES (1)',
  ])('%j', (sql) => {
    expect(rendered(sql, naming, postgresProfile)).toMatch(/^refused: ./)
  })
})

describe('MySQL refuses', () => {
  it.each([
    'CREATE TABLE a (x int) /*!50100 ENGINE=x */',
    '/*! DROP TABLE a */',
    '/*M! DROP TABLE a */',
    'SELECT * FROM `other`.`a`',
    'SELECT `a`.`b`.`c` FROM `b`',
    'SELECT * FROM a USE INDEX (i)',
    "SELECT * FROM a INTO OUTFILE '/x'",
    "SELECT LOAD_FILE('/etc/passwd')",
    'SELECT NEXTVAL(q)',
    'SELECT @@global.sql_mode',
    'RENAME TABLE a TO other.b',
    'ALTER TABLE a RENAME other.b',
    'ALTER TABLE a EXCHANGE PARTITION p WITH TABLE b',
    'ALTER TABLE a DISCARD TABLESPACE',
    'ALTER TABLE a ENGINE=MERGE',
    'CREATE DEFINER=root VIEW v AS SELECT 1',
    "UPDATE a SET b = 'x' -- \\\n, other.c SET d = 1",
    'DELETE FROM a, b USING a JOIN b',
    'CREATE SEQUENCE q',
    "SELECT 'a'.b FROM a",
  ])('%j', (sql) => {
    expect(rendered(sql, naming, mysqlProfile)).toMatch(/^refused: ./)
  })

  it('does not take for a comment what MySQL does not', () => {
    expect(rendered('SELECT 1--1 FROM `a`', naming, mysqlProfile)).toBe('SELECT 1--1 FROM `s`.`t1__a`')
    expect(rendered('SELECT 1 -- 1\rFROM `a`', naming, mysqlProfile)).toBe('SELECT 1 -- 1\rFROM `a`')
  })
})

describe('SQL Server refuses', () => {
  it.each([
    // What follows needs no semicolon there.
    'CREATE TABLE a (x int) DROP TABLE b',
    "CREATE INDEX i ON a (x) WHERE x = 1 EXEC('drop table b')",
    'SELECT 1 FROM a exec sp_who',
    'SELECT 1 FROM a AS create TABLE b (x int)',
    'SELECT 1 x INSERT INTO b VALUES (1)',
    'SELECT 1 DELETE b',
    'SELECT 1 UPDATE b SET x = 1',
    'SELECT 1 MERGE b USING c ON 1 = 1 WHEN MATCHED THEN DELETE;',
    'UPDATE a SET x = 1 SET NOCOUNT ON',
    'UPDATE a SET x = 1 SET ROWCOUNT -1',
    'DELETE FROM a WAITFOR DELAY 1',
    'ALTER TABLE a ALTER COLUMN x int NOT NULL TRUNCATE TABLE b',
    'CREATE VIEW v AS SELECT x FROM a GRANT SELECT ON b TO c',
    'CREATE TABLE a (x int CONSTRAINT drop DEFAULT 1)',
    // Procedures, but for one.
    'EXEC sp_who',
    "EXEC ('drop table b')",
    "EXEC sp_rename 'other.orders', [x]",
    "EXEC sp_rename 'a.b.c.d', [x], 'COLUMN'",
    "EXEC sp_rename 'a', [x], 'USERDATATYPE'",
    "EXEC sp_rename 'a', [x], 'DATABASE'",
    "EXEC sp_rename 'a b', [x]",
    "EXEC sp_rename 'a', @x",
    'EXEC sp_rename a, b',
    "EXEC sp_rename 'a' + 'b', [x]",
    "EXEC sp_rename 'a', [x] DROP TABLE b",
    "EXEC master..sp_rename 'a', [x]",
    "EXEC sp_rename @objname = 'a', @newname = 'b'",
    // Other schemas, databases and servers.
    'SELECT * FROM [other].[a]',
    'SELECT * FROM [db].[dbo].[a]',
    'SELECT * FROM db..a',
    'SELECT * FROM [server].[db].[dbo].[a]',
    "SELECT * FROM OPENROWSET('x', 'y', 'z')",
    "SELECT * FROM OPENQUERY(x, 'y')",
    'SELECT x FROM OPENDATASOURCE(a, b)',
    'CREATE TABLE #a (x int)',
    'ALTER SCHEMA x TRANSFER [a].[b]',
    'CREATE SYNONYM s FOR a',
    'CREATE SECURITY POLICY p ADD FILTER PREDICATE f(x) ON a',
    'ALTER TABLE a SWITCH TO b',
    'ALTER TABLE a NOCHECK CONSTRAINT ALL',
    'ALTER TABLE a SET (SYSTEM_VERSIONING = ON (HISTORY_TABLE = other.b))',
    'CREATE TABLE a (x int) ON filegroup',
    'CREATE LOGIN x WITH PASSWORD = 1',
    'CREATE TABLE a (x other.type)',
  ])('%j', (sql) => {
    expect(rendered(sql, naming, mssqlProfile)).toMatch(/^refused: ./)
  })

  it('drops the schema that means nothing', () => {
    expect(rendered('CREATE SCHEMA [dbo]', naming, mssqlProfile)).toBe('')
    expect(rendered('SELECT [dbo].[a].[x] FROM [dbo].[a]', naming, mssqlProfile)).toBe(
      'SELECT [t1__a].[x] FROM [s].[t1__a]',
    )
  })
})

describe('SQLite refuses', () => {
  it.each([
    `CREATE TABLE 'a' (x int)`,
    `DROP TABLE 'a'`,
    `SELECT * FROM 'a'`,
    `SELECT * FROM a AS 'b'`,
    `SELECT 'a'.x FROM a`,
    `SELECT * FROM a WHERE x IN 'b'`,
    `SELECT * FROM a WHERE x IN main.b`,
    'SELECT * FROM main.a',
    'SELECT * FROM temp.a',
    'SELECT * FROM sqlite_master, main.a',
    `SELECT * FROM pragma_table_info('a')`,
    'SELECT * FROM a INDEXED BY i',
    'PRAGMA main.foreign_keys = OFF',
    'PRAGMA table_info(a)',
    'CREATE INDEX main.i ON a (b)',
    'CREATE TABLE a (x int) AS SELECT * FROM main.b',
    'INSERT INTO a DEFAULT VALUES RETURNING (SELECT x FROM main.b)',
    'REINDEX a',
    'SELECT * FROM "json_each"(x)',
  ])('%j', (sql) => {
    expect(rendered(sql, { qualifier: [], prefix: 't1__' }, sqliteProfile)).toMatch(/^refused: ./)
  })
})
