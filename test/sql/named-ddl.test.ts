import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DdlRefusal } from '../../src/contracts/migrator.ts'
import { parseNamedDdl } from '../../src/sql/ddl/named-ddl.ts'
import type { SqlProfile } from '../../src/sql/profile.ts'
import * as mysql from '../matrix/models/mysql.ts'
import * as sqlite from '../matrix/models/sqlite.ts'
import { mysqlProfile, postgresProfile, sqliteProfile } from './profiles.ts'

const naming = { qualifier: ['s'], prefix: 'p__' }
const render = (sql: string, profile: SqlProfile, own = naming) => parseNamedDdl(sql, profile).render(own)
const refusal = (sql: string, profile: SqlProfile) => {
  try {
    return render(sql, profile)
  } catch (error) {
    if (!(error instanceof DdlRefusal)) throw error
    return `refused: ${error.message}`
  }
}

describe('PostgreSQL', () => {
  it.each([
    [
      'CREATE TABLE "a" ("id" serial PRIMARY KEY NOT NULL)',
      'CREATE TABLE "s"."p__a" ("id" serial PRIMARY KEY NOT NULL)',
    ],
    ['CREATE TABLE IF NOT EXISTS "public"."a" ("id" int)', 'CREATE TABLE IF NOT EXISTS "s"."p__a" ("id" int)'],
    ['CREATE TABLE a (id int)', 'CREATE TABLE "s"."p__a" (id int)'],
    ['create table Public.ORDERS (ID int)', 'create table "s"."p__orders" (ID int)'],
    ['CREATE TABLE "Orders" ("ID" int)', 'CREATE TABLE "s"."p__Orders" ("ID" int)'],
    [`CREATE TYPE "public"."mood" AS ENUM('ok', 'mood')`, `CREATE TYPE "s"."p__mood" AS ENUM('ok', 'mood')`],
    [
      `CREATE TABLE "a" ("m" "mood" DEFAULT 'ok'::"mood" NOT NULL, "l" "mood"[], "n" "public"."mood")`,
      `CREATE TABLE "s"."p__a" ("m" "s"."p__mood" DEFAULT 'ok'::"s"."p__mood" NOT NULL, "l" "s"."p__mood"[], "n" "s"."p__mood")`,
    ],
    ['ALTER TABLE "a" ADD COLUMN "m" "mood"', 'ALTER TABLE "s"."p__a" ADD COLUMN "m" "s"."p__mood"'],
    [
      'ALTER TABLE "a" ALTER COLUMN "m" SET DATA TYPE "public"."mood" USING "m"::text::"public"."mood"',
      'ALTER TABLE "s"."p__a" ALTER COLUMN "m" SET DATA TYPE "s"."p__mood" USING "m"::text::"s"."p__mood"',
    ],
    [
      'ALTER TABLE "a" ADD CONSTRAINT "fk" FOREIGN KEY ("b_id") REFERENCES "public"."b"("id") ON DELETE cascade ON UPDATE no action',
      'ALTER TABLE "s"."p__a" ADD CONSTRAINT "p__fk" FOREIGN KEY ("b_id") REFERENCES "s"."p__b"("id") ON DELETE cascade ON UPDATE no action',
    ],
    [
      'CREATE TABLE "a" ("n" int, CONSTRAINT "u" UNIQUE("n"), CONSTRAINT "c" CHECK ("a"."n" > 0))',
      'CREATE TABLE "s"."p__a" ("n" int, CONSTRAINT "p__u" UNIQUE("n"), CONSTRAINT "p__c" CHECK ("p__a"."n" > 0))',
    ],
    [
      'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "i" ON "a" USING btree (lower("n")) WHERE "a"."n" IS DISTINCT FROM \'x\'',
      'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "p__i" ON "s"."p__a" USING btree (lower("n")) WHERE "p__a"."n" IS DISTINCT FROM \'x\'',
    ],
    ['DROP INDEX "i"', 'DROP INDEX "s"."p__i"'],
    ['DROP TABLE "a", "b" CASCADE', 'DROP TABLE "s"."p__a", "s"."p__b" CASCADE'],
    ['ALTER TABLE "a" RENAME TO "b"', 'ALTER TABLE "s"."p__a" RENAME TO "p__b"'],
    ['ALTER TABLE "a" RENAME COLUMN "x" TO "y"', 'ALTER TABLE "s"."p__a" RENAME COLUMN "x" TO "y"'],
    ['ALTER TABLE "a" RENAME CONSTRAINT "x" TO "y"', 'ALTER TABLE "s"."p__a" RENAME CONSTRAINT "p__x" TO "p__y"'],
    ['ALTER INDEX "i" RENAME TO "j"', 'ALTER INDEX "s"."p__i" RENAME TO "p__j"'],
    [`ALTER TYPE "mood" ADD VALUE 'bad' BEFORE 'ok'`, `ALTER TYPE "s"."p__mood" ADD VALUE 'bad' BEFORE 'ok'`],
    [
      'CREATE TABLE "a" ("id" integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "a_id_seq" INCREMENT BY 1))',
      'CREATE TABLE "s"."p__a" ("id" integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "p__a_id_seq" INCREMENT BY 1))',
    ],
    ['CREATE SEQUENCE "public"."q" INCREMENT BY 1', 'CREATE SEQUENCE "s"."p__q" INCREMENT BY 1'],
    ['ALTER SEQUENCE "q" OWNED BY "a"."id"', 'ALTER SEQUENCE "s"."p__q" OWNED BY "s"."p__a"."id"'],
    ['COMMENT ON COLUMN "a"."id" IS \'"a"."id"\'', 'COMMENT ON COLUMN "s"."p__a"."id" IS \'"a"."id"\''],
    [
      'CREATE VIEW "public"."v" WITH (security_invoker = true) AS (select "a"."id", "b"."n" from "a" inner join "b" on "a"."id" = "b"."a_id")',
      'CREATE VIEW "s"."p__v" WITH (security_invoker = true) AS (select "p__a"."id", "p__b"."n" from "s"."p__a" inner join "s"."p__b" on "p__a"."id" = "p__b"."a_id")',
    ],
    [
      'INSERT INTO "a" ("id") SELECT "x"."id" FROM "b" "x", "c" WHERE "c"."id" = "x"."id" ON CONFLICT ("id") DO UPDATE SET "n" = excluded."n"',
      'INSERT INTO "s"."p__a" ("id") SELECT "x"."id" FROM "s"."p__b" "x", "s"."p__c" WHERE "p__c"."id" = "x"."id" ON CONFLICT ("id") DO UPDATE SET "n" = excluded."n"',
    ],
    [
      'WITH "w" AS (SELECT * FROM "a") UPDATE "b" SET "n" = 1 FROM "w" WHERE "w"."id" = "b"."id"',
      'WITH "w" AS (SELECT * FROM "s"."p__a") UPDATE "s"."p__b" SET "n" = 1 FROM "w" WHERE "w"."id" = "p__b"."id"',
    ],
    ['UPDATE "a" SET "n" = extract(year from "at")', 'UPDATE "s"."p__a" SET "n" = extract(year from "at")'],
    [
      'DELETE FROM "a" USING "b" WHERE "a"."id" = "b"."id"',
      'DELETE FROM "s"."p__a" USING "s"."p__b" WHERE "p__a"."id" = "p__b"."id"',
    ],
    [
      'INSERT INTO "a" SELECT n FROM generate_series(1, 3) n',
      'INSERT INTO "s"."p__a" SELECT n FROM generate_series(1, 3) n',
    ],
    ['CREATE SCHEMA "public"', ''],
  ])('%s', (sql, expected) => {
    expect(render(sql, postgresProfile)).toBe(expected)
  })

  it.each([
    'CREATE TABLE "other"."a" ("id" int)',
    'ALTER TABLE "a" ADD CONSTRAINT "fk" FOREIGN KEY ("b") REFERENCES "other"."b"("id")',
    'CREATE VIEW "v" AS select * from other.secrets',
    'CREATE VIEW "v" AS select "z"."id" from "a"',
    'INSERT INTO "a" SELECT "b"."id" FROM "x"."b"',
    'GRANT ALL ON "a" TO public',
    'SET search_path TO x',
    'COMMIT',
    'CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ select 1 $$',
    'CREATE TRIGGER t BEFORE INSERT ON "a" EXECUTE FUNCTION f()',
    'CREATE TABLE "a" (LIKE "b")',
    'CREATE TABLE "a" PARTITION OF "b" FOR VALUES IN (1)',
    'CREATE TABLE "a" ("x" int) INHERITS ("b")',
    `CREATE TABLE "a" ("x" text DEFAULT 'not closed`,
    'DO $$ begin end $$',
  ])('refuses %s', (sql) => {
    expect(refusal(sql, postgresProfile)).toMatch(/^refused: /)
  })
})

describe('MySQL', () => {
  it.each([
    ['DROP TABLE Orders', 'DROP TABLE `s`.`p__Orders`'],
    ['ALTER TABLE `a` RENAME TO `b`', 'ALTER TABLE `s`.`p__a` RENAME TO `s`.`p__b`'],
    ['RENAME TABLE `a` TO `b`, `c` TO `d`', 'RENAME TABLE `s`.`p__a` TO `s`.`p__b`, `s`.`p__c` TO `s`.`p__d`'],
    ['DROP INDEX `i` ON `a`', 'DROP INDEX `p__i` ON `s`.`p__a`'],
    ['CREATE INDEX `i` ON `a` (`x`)', 'CREATE INDEX `p__i` ON `s`.`p__a` (`x`)'],
    ['ALTER TABLE `a` DROP FOREIGN KEY `fk`', 'ALTER TABLE `s`.`p__a` DROP FOREIGN KEY `p__fk`'],
    ['ALTER TABLE `a` DROP INDEX `i`', 'ALTER TABLE `s`.`p__a` DROP INDEX `p__i`'],
    ['ALTER TABLE `a` MODIFY COLUMN `x` int NOT NULL', 'ALTER TABLE `s`.`p__a` MODIFY COLUMN `x` int NOT NULL'],
    [
      'INSERT INTO `a` (`id`) VALUES (1) ON DUPLICATE KEY UPDATE `id` = 2',
      'INSERT INTO `s`.`p__a` (`id`) VALUES (1) ON DUPLICATE KEY UPDATE `id` = 2',
    ],
    [
      'CREATE TABLE `a` (`id` int, KEY `k` (`id`), UNIQUE KEY `u` (`id`))',
      'CREATE TABLE `s`.`p__a` (`id` int, KEY `p__k` (`id`), UNIQUE KEY `p__u` (`id`))',
    ],
  ])('%s', (sql, expected) => {
    expect(render(sql, mysqlProfile)).toBe(expected)
  })

  it('qualifies without a prefix where a tenant has a database', () => {
    const own = { qualifier: ['t1'], prefix: '' }
    for (const statement of mysql.statements) {
      const text = render(statement, mysqlProfile, own)
      expect(text.replaceAll('`t1`.', '')).toBe(statement)
      expect(text).toMatch(/`t1`\.`(authors|books|cheap_books)`/)
    }
  })

  it.each([
    'USE other',
    'INSERT INTO `a` SELECT * FROM `other`.`b`',
    'CREATE TABLE `a` (`x` int) /*!50100 ENGINE=x */',
    'CREATE DATABASE x',
  ])('refuses %s', (sql) => {
    expect(refusal(sql, mysqlProfile)).toMatch(/^refused: /)
  })
})

describe('every database', () => {
  const models = [
    [mysqlProfile, mysql.statements],
    [sqliteProfile, sqlite.statements],
  ] as const

  it.each(models)('two tenants get the same but for the prefix', (profile, statements) => {
    for (const statement of statements) {
      const parsed = parseNamedDdl(statement, profile)
      const [a, b] = ['ta__', 'tb__'].map((prefix) => parsed.render({ qualifier: [], prefix })) as [string, string]
      expect(a).not.toBe(statement)
      expect(a.replaceAll('ta__', 'tb__')).toBe(b)
    }
  })

  it('never changes a string, a comment or a column', () => {
    const text = fc.string({ maxLength: 40 }).map((one) => one.replaceAll("'", "''").replaceAll('\\', ''))
    fc.assert(
      fc.property(text, text, (string, comment) => {
        const note = comment.replaceAll('*', '').replaceAll('/', '')
        const sql = `CREATE TABLE "a" /*"a"${note}*/ ("a" text DEFAULT '"a" ${string}', "table" int, "references" int)`
        expect(render(sql, postgresProfile)).toBe(sql.replace('TABLE "a"', 'TABLE "s"."p__a"'))
      }),
    )
  })
})
