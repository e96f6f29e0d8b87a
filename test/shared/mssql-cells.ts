import { sql } from 'drizzle-orm-v1'
import { int, mssqlTable, nvarchar, primaryKey } from 'drizzle-orm-v1/mssql-core'
import type { IsolationStrategy } from '../../src/contracts/isolation.ts'
import type { SharedTables } from '../../src/contracts/shared-tables.ts'
import type { StrategyName } from '../../src/contracts/tenant.ts'
import type { Db } from '../matrix/cell.ts'
import { asSuper, hasPolicies, mssqlDatabase, mssqlServer } from '../support/mssql.ts'
import { type SharedCell, sharedTables } from './cell.ts'

const attacks = [
  "insert into %s values (4, 'stolen')",
  "update %s set name = 'stolen'",
  'delete from %s',
  'delete p from %s p',
  "insert into %s (id, name) select 5, 'stolen'",
  'truncate table %s',
  'alter table %s add mine int',
  'drop table %s',
  "exec sp_rename '%s', 'mine'",
  'create table #plans (id int)',
  'alter schema [dbo] transfer %s',
]

const KEYS = 'what only speaks T-SQL checks keys with the rights of the caller'
const skipped = {
  'joins a shared table with its own, and sees own rows only': KEYS,
  'a foreign key to a shared table holds': KEYS,
  'tenants come and go at once while others read, and the rows stay': KEYS,
  'a table that becomes writable, and one that is no longer': 'what only speaks T-SQL does not tell of rights',
}

/** The same tables as everywhere, with the tenant in those that tenants share under `rls`. */
export function mssqlModel(byRows = false) {
  const plans = mssqlTable('plans', { id: int('id').primaryKey(), name: nvarchar('name', { length: 100 }).notNull() })
  const tags = mssqlTable('tags', {
    id: int('id').identity().primaryKey(),
    label: nvarchar('label', { length: 100 }).notNull().unique(),
  })
  const columns = {
    id: int('id').notNull(),
    planId: int('plan_id')
      .notNull()
      .references(() => plans.id),
    note: nvarchar('note', { length: 100 }).notNull().default(''),
  }
  const tenantId = nvarchar('tenant_id', { length: 36 })
    .notNull()
    .default(sql`(cast(session_context(N'app.current_tenant') as nvarchar(36)))`)
  const subscriptions = byRows
    ? mssqlTable('subscriptions', { tenantId, ...columns }, (t) => [primaryKey({ columns: [t.tenantId, t.id] })])
    : mssqlTable('subscriptions', columns, (t) => [primaryKey({ columns: [t.id] })])
  return { plans, tags, subscriptions }
}

export const sharedStatements = [
  'CREATE TABLE [plans] (\n\t[id] int,\n\t[name] nvarchar(100) NOT NULL,\n\tCONSTRAINT [plans_pkey] PRIMARY KEY([id])\n);\n',
  'CREATE TABLE [tags] (\n\t[id] int IDENTITY(1, 1),\n\t[label] nvarchar(100) NOT NULL,\n\tCONSTRAINT [tags_pkey] PRIMARY KEY([id]),\n\tCONSTRAINT [tags_label_key] UNIQUE([label])\n);\n',
  'CREATE TABLE [internal] ([id] int, [plan_id] int, CONSTRAINT [internal_pkey] PRIMARY KEY([id]));',
  "INSERT INTO [plans] ([id], [name]) VALUES (1, 'free'), (2, 'pro');",
]

const TENANT =
  "[tenant_id] nvarchar(36) NOT NULL CONSTRAINT [subscriptions_tenant_id_default] DEFAULT ((cast(session_context(N'app.current_tenant') as nvarchar(36)))),\n\t"
const statementsOf = (tenant: string, key: string) => [
  `CREATE TABLE [subscriptions] (\n\t${tenant}[id] int NOT NULL,\n\t[plan_id] int NOT NULL,\n\t[note] nvarchar(100) NOT NULL CONSTRAINT [subscriptions_note_default] DEFAULT (''),\n\tCONSTRAINT [subscriptions_pkey] PRIMARY KEY(${key})\n);\n`,
  'ALTER TABLE [subscriptions] ADD CONSTRAINT [subscriptions_plan_id_plans_id_fk] FOREIGN KEY ([plan_id]) REFERENCES [plans]([id]);',
]

interface NodeMssql {
  drizzle(config: { readonly client: object }): unknown
}

/** A strategy on a SQL Server. */
export function mssqlSharedCell(superuserUrl: string, strategy: IsolationStrategy): SharedCell {
  return {
    name: `${strategy.name} on SQL Server`,
    strategy,
    attacks,
    ...(!hasPolicies && { skipped }),
    full: (name) => `[shared].[${name}]`,
    async open() {
      const database = await mssqlDatabase(superuserUrl)
      // Not at the top: drizzle-orm 0.45 has no such entry.
      const { drizzle } = (await import('drizzle-orm/node-mssql')) as NodeMssql
      const start = async (change: Partial<SharedTables> = {}) => {
        const server = mssqlServer(database, {
          poolSize: 3,
          strategies: [strategy.name as StrategyName],
          sharedTables: { ...sharedTables, ...change },
        })
        await server.open()
        return server
      }
      const server = await start()
      const byRows = strategy.name === 'rls'
      return {
        server,
        model: mssqlModel(byRows) as never,
        sharedStatements,
        statements: byRows ? statementsOf(TENANT, '[tenant_id],[id]') : statementsOf('', '[id]'),
        ownTable: 'CREATE TABLE mine (id int)',
        rename: "EXEC sp_rename 'mine', 'plans', 'OBJECT'",
        cascading:
          'CREATE TABLE [labelled] ([id] int NOT NULL, [tag_id] int, CONSTRAINT [fk_x] FOREIGN KEY ([tag_id]) REFERENCES [tags]([id]) ON DELETE CASCADE)',
        drizzle: (client) => drizzle({ client }) as Db,
        rows: async (db, query) =>
          ((await db.execute(query)) as unknown as { recordset?: Record<string, unknown>[] }).recordset ?? [],
        url: database.superUrl,
        account: database.servingLogin,
        another: (options) => start(options?.sharedTables),
        asOwner: (...texts) => asSuper(database.superUrl, texts),
        async close() {
          await server.close()
          await database.drop()
        },
      }
    },
  }
}
