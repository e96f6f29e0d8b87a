import { sql } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { db, migrationsOf } from '../faults/fixture.ts'
import type { TenancyOptions } from '../../src/index.ts'
import type { TestDatabase } from '../servers/database.ts'
import { describeWith } from '../servers/suite.ts'
import { tenantApp } from '../support/app.ts'
import { asSuperuser, baselineDatabase } from '../support/database.ts'

const ORDERS = ['create table "orders" ("id" integer primary key, "owner" text not null)']

/** Ways to a temporary table whose statement neither begins with CREATE TEMP nor is answered like one. */
const WAYS = {
  'SELECT INTO TEMP': 'select owner into temp report from orders',
  'CREATE TABLE pg_temp.…': 'create table pg_temp.report as select owner from orders',
  'EXPLAIN ANALYZE CREATE TEMP': 'explain analyze create temp table report as select owner from orders',
  'a DO block': 'do $$ begin create temp table report as select owner from orders; end $$',
}

const GRANT = `do $$ begin execute format('grant temporary on database %I to public', current_database()); end $$`

/** docs/database.md: `create temp …` runs, "then our connection is destroyed, not given on"; "never rows". */
describeWith(['postgres15'], 'a temporary table', ({ postgres15 }) => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await baselineDatabase(postgres15.url)
  })
  afterAll(() => database?.drop())

  async function twoTenants(options: TenancyOptions): Promise<FastifyInstance> {
    const app = await tenantApp(database, {
      ...options,
      databasePoolSize: 1,
      databaseMaxOverflow: 0,
    })
    await app.ready()
    onTestFinished(() => app.close())
    for (const identifier of ['acme', 'globex']) {
      await app.tenancy.ensure({ identifier })
      await app.tenancy.run(identifier, () =>
        db().execute(sql`insert into orders (id, owner) values (1, ${identifier}) on conflict do nothing`),
      )
    }
    return app
  }

  const rowsOfTheNext = async (app: FastifyInstance, statement: string): Promise<unknown[]> => {
    await app.tenancy.run('acme', () => db().execute(sql.raw(statement)))
    return app.tenancy.run('globex', () =>
      db()
        .execute(sql`select owner from report`)
        .then(
          ({ rows }) => rows,
          () => [],
        ),
    )
  }

  for (const [name, statement] of Object.entries(WAYS)) {
    it(`made by ${name} gives no rows to the next tenant, where one role serves and administers`, async () => {
      const migrations = await migrationsOf(ORDERS)
      const app = await twoTenants({ databaseUrl: database.adminUrl, adminDatabaseUrl: database.adminUrl, migrations })
      expect(await rowsOfTheNext(app, statement)).toEqual([])
    })
  }

  it('gives no rows past row policies, where everybody has TEMPORARY as PostgreSQL gives it', async () => {
    await asSuperuser(database, (client) => client.query(GRANT))
    const migrations = await migrationsOf([
      'create table "orders" ("tenant_id" uuid not null, "id" integer, "owner" text, primary key ("tenant_id", "id"))',
    ])
    const app = await twoTenants({ isolationStrategy: 'rls', registrySchema: 'tenancy_rls', migrations })
    expect(await rowsOfTheNext(app, WAYS['SELECT INTO TEMP'])).toEqual([])
  })
})
