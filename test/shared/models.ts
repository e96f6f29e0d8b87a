import { sql } from 'drizzle-orm'
import { int, mysqlTable, varchar } from 'drizzle-orm/mysql-core'
import { integer, pgTable, primaryKey, serial, text, uuid } from 'drizzle-orm/pg-core'
import { integer as int64, sqliteTable, text as string } from 'drizzle-orm/sqlite-core'

/** Tables anew: what they are called in SQL is kept in them, and each cell has other names. */
export function pgModel(byRows = false) {
  const plans = pgTable('plans', { id: integer('id').primaryKey(), name: text('name').notNull() })
  const tags = pgTable('tags', { id: serial('id').primaryKey(), label: text('label').notNull().unique() })
  const columns = {
    id: integer('id').notNull(),
    planId: integer('plan_id')
      .notNull()
      .references(() => plans.id),
    note: text('note').notNull().default(''),
  }
  const tenantId = uuid('tenant_id')
    .notNull()
    .default(sql`(nullif(current_setting('app.current_tenant', true), ''))::uuid`)
  const subscriptions = byRows
    ? (pgTable('subscriptions', { tenantId, ...columns }, (t) => [
        primaryKey({ columns: [t.tenantId, t.id] }),
      ]) as unknown as ReturnType<typeof plain>)
    : plain()
  return { plans, tags, subscriptions }

  function plain() {
    return pgTable('subscriptions', columns, (t) => [primaryKey({ columns: [t.id] })])
  }
}

/** The same on MySQL. */
export function mysqlModel() {
  const plans = mysqlTable('plans', { id: int('id').primaryKey(), name: varchar('name', { length: 100 }).notNull() })
  const tags = mysqlTable('tags', {
    id: int('id').primaryKey().autoincrement(),
    label: varchar('label', { length: 100 }).notNull().unique(),
  })
  const subscriptions = mysqlTable('subscriptions', {
    id: int('id').primaryKey(),
    planId: int('plan_id')
      .notNull()
      .references(() => plans.id),
    note: varchar('note', { length: 100 }).notNull().default(''),
  })
  return { plans, tags, subscriptions }
}

/** The same on SQLite. */
export function sqliteModel() {
  const plans = sqliteTable('plans', { id: int64('id').primaryKey(), name: string('name').notNull() })
  const tags = sqliteTable('tags', {
    id: int64('id').primaryKey({ autoIncrement: true }),
    label: string('label').notNull().unique(),
  })
  const subscriptions = sqliteTable('subscriptions', {
    id: int64('id').primaryKey(),
    planId: int64('plan_id')
      .notNull()
      .references(() => plans.id),
    note: string('note').notNull().default(''),
  })
  return { plans, tags, subscriptions }
}

const SEED = (quote: string) =>
  `INSERT INTO ${quote}plans${quote} (${quote}id${quote}, ${quote}name${quote}) VALUES (1, 'free'), (2, 'pro');`

/** What drizzle-kit generates for the shared tables, and their first rows. */
export const sharedStatements = {
  postgres: [
    'CREATE TABLE "plans" (\n\t"id" integer PRIMARY KEY NOT NULL,\n\t"name" text NOT NULL\n);\n',
    'CREATE TABLE "tags" (\n\t"id" serial PRIMARY KEY NOT NULL,\n\t"label" text NOT NULL,\n\tCONSTRAINT "tags_label_unique" UNIQUE("label")\n);\n',
    'CREATE TABLE "internal" ("id" integer PRIMARY KEY NOT NULL, "plan_id" integer REFERENCES "public"."plans"("id"));',
    SEED('"'),
  ],
  mysql: [
    'CREATE TABLE `plans` (\n\t`id` int NOT NULL,\n\t`name` varchar(100) NOT NULL,\n\tCONSTRAINT `plans_id` PRIMARY KEY(`id`)\n);\n',
    'CREATE TABLE `tags` (\n\t`id` int AUTO_INCREMENT NOT NULL,\n\t`label` varchar(100) NOT NULL,\n\tCONSTRAINT `tags_id` PRIMARY KEY(`id`),\n\tCONSTRAINT `tags_label_unique` UNIQUE(`label`)\n);\n',
    'CREATE TABLE `internal` (`id` int NOT NULL, `plan_id` int, CONSTRAINT `internal_id` PRIMARY KEY(`id`));',
    SEED('`'),
  ],
  sqlite: [
    'CREATE TABLE `plans` (\n\t`id` integer PRIMARY KEY NOT NULL,\n\t`name` text NOT NULL\n);\n',
    'CREATE TABLE `tags` (\n\t`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,\n\t`label` text NOT NULL\n);\n',
    'CREATE UNIQUE INDEX `tags_label_unique` ON `tags` (`label`);',
    'CREATE TABLE `internal` (`id` integer PRIMARY KEY NOT NULL, `plan_id` integer REFERENCES `plans`(`id`));',
    SEED('`'),
  ],
}

const TENANT = `"tenant_id" uuid DEFAULT (nullif(current_setting('app.current_tenant', true), ''))::uuid NOT NULL`

/** What drizzle-kit generates for the tables of a tenant: it writes the schema that it takes the shared table to be in. */
export const statements = {
  postgres: [
    `CREATE TABLE "subscriptions" (\n\t"id" integer PRIMARY KEY NOT NULL,\n\t"plan_id" integer NOT NULL,\n\t"note" text DEFAULT '' NOT NULL\n);\n`,
    'ALTER TABLE "subscriptions" ADD CONSTRAINT "subscriptions_plan_id_plans_id_fk" FOREIGN KEY ("plan_id") REFERENCES "public"."plans"("id") ON DELETE no action ON UPDATE no action;',
  ],
  rls: [
    `CREATE TABLE "subscriptions" (\n\t${TENANT},\n\t"id" integer NOT NULL,\n\t"plan_id" integer NOT NULL,\n\t"note" text DEFAULT '' NOT NULL,\n\tCONSTRAINT "subscriptions_pk" PRIMARY KEY("tenant_id","id")\n);\n`,
    'ALTER TABLE "subscriptions" ADD CONSTRAINT "subscriptions_plan_id_plans_id_fk" FOREIGN KEY ("plan_id") REFERENCES "public"."plans"("id") ON DELETE no action ON UPDATE no action;',
  ],
  mysql: [
    "CREATE TABLE `subscriptions` (\n\t`id` int NOT NULL,\n\t`plan_id` int NOT NULL,\n\t`note` varchar(100) NOT NULL DEFAULT '',\n\tCONSTRAINT `subscriptions_id` PRIMARY KEY(`id`)\n);\n",
    'ALTER TABLE `subscriptions` ADD CONSTRAINT `subscriptions_plan_id_plans_id_fk` FOREIGN KEY (`plan_id`) REFERENCES `plans`(`id`) ON DELETE no action ON UPDATE no action;',
  ],
  sqlite: [
    "CREATE TABLE `subscriptions` (\n\t`id` integer PRIMARY KEY NOT NULL,\n\t`plan_id` integer NOT NULL,\n\t`note` text DEFAULT '' NOT NULL,\n\tFOREIGN KEY (`plan_id`) REFERENCES `plans`(`id`) ON UPDATE no action ON DELETE no action\n);\n",
  ],
}
